//! `cargo xtask cuda-emulator`: the GPU tests on a CPU.
//!
//! The CUDA kernels, ours and candle's, are compiled as C++ for the CPU, with replacements of the
//! driver, cuBLAS and cuRAND (`xtask/emulator`). The tests then check launches, sizes, sums and
//! barriers. They measure no speed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{programs, root};

/// Files of candle's kernels that training uses.
const CANDLE_KERNELS: [&str; 7] = [
    "affine", "binary", "fill", "indexing", "reduce", "ternary", "unary",
];
/// File names under which programs load the library.
const LIBRARY_NAMES: [&str; 3] = ["libcuda.so.1", "libcublas.so.13", "libcurand.so.10"];
/// The toolkit's runtime, which is used as it is.
const RUNTIME: &str = "libcudart.so.13";
/// Prefixes of the functions of the driver, cuBLAS and cuRAND.
const FUNCTION_PREFIXES: [&str; 2] = ["cublas", "curand"];

/// Builds the library and runs the GPU tests with it.
///
/// # Errors
/// If there is no CUDA toolkit or C++ compiler, or a test fails.
pub fn run() -> Result<()> {
    let toolkit = cuda_toolkit()?;
    let tests = programs::gpu_tests()?;
    let dir = root().join("target/cuda-emulator");
    fs::create_dir_all(&dir)?;
    let candle = candle_kernels()?;
    // Half precision and atomics of candle's own compile only for a GPU.
    fs::write(dir.join("compatibility.cuh"), "#pragma once\n")?;
    for header in ["cuda_utils.cuh", "binary_op_macros.cuh"] {
        fs::copy(candle.join(header), dir.join(header))?;
    }
    let emulator = root().join("xtask/emulator");
    let compiler = Compiler {
        toolkit: &toolkit,
        emulator: &emulator,
        dir: &dir,
    };
    let sources = kernel_sources(&candle, &emulator)?;
    let mut objects = programs::in_parallel(&sources, |source| compiler.compile_kernels(source))?;
    objects.push(compiler.compile(&emulator.join("driver.cpp"), "driver", &dir)?);
    let missing = dir.join("missing.cpp");
    fs::write(&missing, stubs(&missing_functions(&tests[1], &objects)?))?;
    objects.push(compiler.compile(&missing, "missing", &dir)?);
    compiler.link(&objects)?;
    for (program, package) in tests.iter().zip(["kernels", "train"]) {
        let status = Command::new(program)
            .current_dir(root().join("crates").join(package))
            .env("LD_LIBRARY_PATH", &dir)
            .status()?;
        ensure!(
            status.success(),
            "the GPU tests of prl-{package} ended with {status}"
        );
    }
    Ok(())
}

/// Directory of the CUDA toolkit.
fn cuda_toolkit() -> Result<PathBuf> {
    let mut toolkit = PathBuf::from("/usr/local/cuda");
    for variable in ["CUDA_PATH", "CUDA_HOME"] {
        if let Some(named) = std::env::var_os(variable) {
            toolkit = named.into();
        }
    }
    ensure!(
        toolkit.join("include").is_dir(),
        "{} is no CUDA toolkit: it has no include directory; name one in CUDA_HOME",
        toolkit.display()
    );
    Ok(toolkit)
}

/// Directory of the sources of candle's kernels, from `cargo metadata`.
fn candle_kernels() -> Result<PathBuf> {
    let output = programs::cargo()
        .args(["metadata", "--format-version", "1"])
        .args(["--features", "prl-cli/cuda"])
        .output()?;
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        if let ("candle-kernels", Some(manifest)) = (
            package["name"].as_str().unwrap_or_default(),
            package["manifest_path"].as_str(),
        ) {
            return Ok(Path::new(manifest).with_file_name("src"));
        }
    }
    anyhow::bail!("candle-kernels is no dependency; is its feature named otherwise?")
}

/// All CUDA files: ours, those of [`CANDLE_KERNELS`], and the emulator's.
fn kernel_sources(candle: &Path, emulator: &Path) -> Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(root().join("crates/kernels/cuda"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "cu") {
            sources.push(path);
        }
    }
    for name in CANDLE_KERNELS {
        sources.push(candle.join(name).with_extension("cu"));
    }
    sources.push(emulator.join("cast.cu"));
    Ok(sources)
}

/// The C++ compiler with its include directories.
struct Compiler<'a> {
    toolkit: &'a Path,
    emulator: &'a Path,
    /// Output directory.
    dir: &'a Path,
}

impl Compiler<'_> {
    /// Object of a CUDA file whose kernels are registered by name when the library is loaded.
    fn compile_kernels(&self, source: &Path) -> Result<PathBuf> {
        let stem = source.file_stem().unwrap_or_default().to_string_lossy();
        let owner = if source.starts_with(root()) {
            "prl"
        } else {
            "candle"
        };
        let name = format!("{owner}-{stem}");
        let device = self.emulator.join("device.h");
        let mut code = format!("#include {device:?}\n{}", fs::read_to_string(source)?);
        let cpp = self.dir.join(&name).with_extension("cpp");
        fs::write(&cpp, &code)?;
        let include = source.parent().unwrap_or(self.dir);
        // Kernels may be defined by macros, so their names are read after the preprocessor.
        let preprocessed = self
            .command(include)
            .args(["-E", "-P"])
            .arg(&cpp)
            .output()
            .context("failed to run c++")?;
        for kernel in kernel_names(&String::from_utf8_lossy(&preprocessed.stdout)) {
            code +=
                &format!("\nstatic const emulator::Kernel known_{kernel}({kernel:?}, &{kernel});");
        }
        fs::write(&cpp, code + "\n")?;
        self.compile(&cpp, &name, include)
    }

    /// A command with the headers of the toolkit, of the emulator, and of another directory.
    fn command(&self, include: &Path) -> Command {
        let mut command = Command::new("c++");
        command.args(["-std=c++17", "-O2", "-fPIC", "-w", "-fpermissive"]);
        let toolkit = self.toolkit.join("include");
        for headers in [&toolkit, self.emulator, self.dir, include] {
            command.arg("-I").arg(headers);
        }
        command
    }

    fn compile(&self, source: &Path, name: &str, include: &Path) -> Result<PathBuf> {
        let object = self.dir.join(name).with_extension("o");
        let mut command = self.command(include);
        command.arg("-c").arg(source).arg("-o").arg(&object);
        run_quietly(&mut command)?;
        Ok(object)
    }

    /// Links the library under each of [`LIBRARY_NAMES`] and copies the toolkit's runtime beside
    /// it.
    fn link(&self, objects: &[PathBuf]) -> Result<()> {
        let library = self.dir.join(LIBRARY_NAMES[0]);
        let mut command = self.command(self.dir);
        // Headers define functions in each of candle's files.
        command.args(["-shared", "-Wl,--allow-multiple-definition", "-o"]);
        run_quietly(command.arg(&library).args(objects))?;
        for name in &LIBRARY_NAMES[1..] {
            // Hard links: the loader takes files of different inodes for different libraries, each
            // with a state of its own.
            let other = self.dir.join(name);
            if other.exists() {
                fs::remove_file(&other)?;
            }
            fs::hard_link(&library, other)?;
        }
        for place in ["lib64", "lib", "targets/x86_64-linux/lib"] {
            let runtime = self.toolkit.join(place).join(RUNTIME);
            if runtime.exists() {
                fs::copy(runtime, self.dir.join(RUNTIME))?;
                return Ok(());
            }
        }
        anyhow::bail!("the toolkit has no {RUNTIME}")
    }
}

/// Names of the kernels that a preprocessed file defines.
fn kernel_names(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for definition in text.split("extern \"C\"").skip(1) {
        if let Some(rest) = definition.trim_start().strip_prefix("void ")
            && let Some((name, _)) = rest.split_once('(')
        {
            names.push(name.trim());
        }
    }
    names
}

/// Functions of the GPU's libraries that a program imports and no object defines.
fn missing_functions(program: &Path, objects: &[PathBuf]) -> Result<Vec<String>> {
    let defined = symbols(&["--defined-only"], objects)?;
    let mut missing = symbols(&["--dynamic", "--undefined-only"], &[program.to_owned()])?;
    missing.retain(|name| is_gpu_function(name) && !defined.contains(name));
    Ok(missing)
}

fn is_gpu_function(name: &str) -> bool {
    let is_driver = name
        .strip_prefix("cu")
        .is_some_and(|rest| rest.starts_with(char::is_uppercase));
    is_driver
        || FUNCTION_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Symbols of files without their versions, by `nm`.
fn symbols(args: &[&str], files: &[PathBuf]) -> Result<Vec<String>> {
    let output = Command::new("nm")
        .args(args)
        .args(files)
        .output()
        .context("failed to run nm")?;
    let mut symbols = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some(symbol) = line.split_whitespace().next_back() {
            let name = symbol.split('@').next().unwrap_or_default();
            symbols.push(name.to_owned());
        }
    }
    Ok(symbols)
}

/// C++ functions that print that they are missing and return CUDA's "not supported".
fn stubs(names: &[String]) -> String {
    const NOT_SUPPORTED: u32 = 801;
    let mut code = "#include <cstdio>\n".to_owned();
    for name in names {
        code += &format!(
            "extern \"C\" int {name}() {{ return (fprintf(stderr, \"emulator: no function \
             {name}\\n\"), {NOT_SUPPORTED}); }}\n"
        );
    }
    code
}

fn run_quietly(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("failed to run {:?}", command.get_program()))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_found_by_name() {
        let text = "extern \"C\" void take(float *out) {}\nvoid helper(int x);\n\
                    extern \"C\"  void put (float x);";
        assert_eq!(kernel_names(text), ["take", "put"]);
    }

    #[test]
    fn only_functions_of_gpu_libraries_are_replaced() {
        for name in ["cuMemAlloc_v2", "cublasCreate_v2", "curandGenerateUniform"] {
            assert!(is_gpu_function(name), "{name}");
        }
        for name in ["cut", "malloc", "cudaMalloc", "curl_init"] {
            assert!(!is_gpu_function(name), "{name}");
        }
    }

    #[test]
    fn stub_is_a_c_function() {
        let code = stubs(&["cuFoo".to_owned()]);
        let wanted = r#"extern "C" int cuFoo() { return (fprintf(stderr, "emulator: no function cuFoo\n"), 801); }"#;
        assert_eq!(code.lines().nth(1), Some(wanted));
    }
}
