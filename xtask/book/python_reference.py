"""Writes the reference of the Python package, of its docstrings, as Markdown on standard output.

Usage: python_reference.py FOLDER, the folder of the package. The package is read, not imported.
"""

import ast
import re
import sys
from pathlib import Path

HEAD = """# Python package

<!-- Written by `cargo xtask book`. -->

The public names of the package `prl`, with their docstrings.
"""


def definitions(folder):
    """The public classes and functions, in the order of the package's imports."""
    module = ast.parse((folder / "__init__.py").read_text())
    public = []
    for node in module.body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
            public = ast.literal_eval(node.value)
    found = {}
    for node in module.body:
        if not isinstance(node, ast.ImportFrom):
            continue
        path = folder / f"{node.module}.py"
        if not path.is_file():
            continue
        for inner in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names]
            if isinstance(inner, (ast.ClassDef, ast.FunctionDef)) and inner.name in names:
                if inner.name in public:
                    found[inner.name] = inner
    return module, found


def signature(node, name):
    """The definition without its body, an argument a line if it is long."""
    # `self` is no argument of a caller.
    node.args.args = [argument for argument in node.args.args if argument.arg != "self"]
    arguments = re.sub(r"(: [^=,]+?)=", r"\1 = ", ast.unparse(node.args))
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{name}({arguments}){result}"
    if len(line) <= 90:
        return line
    parts, depth, start = [], 0, 0
    for i, c in enumerate(arguments):
        depth += (c in "([{") - (c in ")]}")
        if c == "," and depth == 0:
            parts.append(arguments[start:i].strip())
            start = i + 1
    parts.append(arguments[start:].strip())
    return f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){result}"


def prose(text):
    """reStructuredText of a docstring as Markdown."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    text = text.replace("``", "`")
    lines, code = [], False
    for line in text.splitlines():
        field = re.match(r"(\s*):(param|raises|returns?)\s*([^:]*):\s*(.*)", line)
        if field and not code:
            kind, name, rest = field.group(2), field.group(3), field.group(4)
            if lines and lines[-1] and not lines[-1].startswith(("-", " ")):
                lines.append("")
            lead = {"param": f"`{name}`:", "raises": f"raises `{name}`"}.get(kind, "returns")
            lines.append(f"- {lead} {rest}".rstrip())
        elif line.endswith("::") and not code:
            lines.append(line[:-1])
            code = True
        elif code and (not line or line.startswith("    ")):
            lines.append(line)
        else:
            code = False
            # Continuations and lists of a field belong to it.
            lines.append("  " + line.strip() if line.startswith("    ") and "- " not in line else line)
    return "\n".join(lines)


def section(level, title, node, name):
    doc = ast.get_docstring(node)
    text = f"\n{'#' * level} {title}\n"
    if isinstance(node, ast.FunctionDef):
        is_property = any("property" in ast.unparse(d) for d in node.decorator_list)
        if is_property:
            kind = f": {ast.unparse(node.returns)}" if node.returns else ""
            text += f"\n```python\n{name}{kind}\n```\n"
        else:
            text += f"\n```python\n{signature(node, name)}\n```\n"
    if doc:
        text += f"\n{prose(doc)}\n"
    return text


def main():
    folder = Path(sys.argv[1])
    module, found = definitions(folder)
    page = HEAD + "\n" + prose(ast.get_docstring(module)) + "\n"
    for name, node in found.items():
        page += section(2, name, node, name)
        if not isinstance(node, ast.ClassDef):
            continue
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef) and ast.get_docstring(inner):
                is_init = inner.name == "__init__"
                title = name if is_init else f"{name}.{inner.name}"
                if is_init or not inner.name.startswith("_"):
                    page += section(3, f"{title}()" if is_init else title, inner, title)
    sys.stdout.write("\n".join(line.rstrip() for line in page.splitlines()) + "\n")


if __name__ == "__main__":
    main()
