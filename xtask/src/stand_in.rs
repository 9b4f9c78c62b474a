//! `cargo xtask cuda-emulator`: the tests that need a GPU, on a CPU in its place.
//!
//! The GPU's kernels, ours and candle's, are compiled as C++ for the CPU, with what takes the place of the driver, cuBLAS and
//! cuRAND (`xtask/emulator`). That tells whether launches, sizes, sums and barriers are right. It tells nothing of speed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{programs, root};

/// The files of candle's kernels that a training comes to.
const OF_CANDLE: [&str; 7] = [
    "affine", "binary", "fill", "indexing", "reduce", "ternary", "unary",
];
/// What the library is looked for as.
const NAMES: [&str; 3] = ["libcuda.so.1", "libcublas.so.13", "libcurand.so.10"];

/// Makes the library and runs the tests on it.
pub fn run() -> Result<()> {
    let home = cuda_home()?;
    let tests = programs::gpu_tests()?;
    let dir = root().join("target/stand-in");
    fs::create_dir_all(&dir)?;
    let kernels = candle_kernels()?;
    // candle's half precision, and atomics of its own, are for a GPU's compiler alone.
    fs::write(dir.join("compatibility.cuh"), "#pragma once\n")?;
    for header in ["cuda_utils.cuh", "binary_op_macros.cuh"] {
        fs::copy(kernels.join(header), dir.join(header))?;
    }
    let compiler = Compiler {
        home: &home,
        dir: &dir,
    };
    let ours = fs::read_dir(root().join("crates/kernels/cuda"))?.map(|entry| Ok(entry?.path()));
    let ours = ours
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "cu"));
    let theirs = OF_CANDLE
        .iter()
        .map(|name| kernels.join(name).with_extension("cu"));
    let sources: Vec<PathBuf> = ours
        .chain(theirs)
        .chain([root().join("xtask/emulator/cast.cu")])
        .collect();
    let objects = std::thread::scope(|scope| {
        let begun: Vec<_> = sources
            .iter()
            .map(|source| scope.spawn(|| compiler.kernels(source)))
            .collect();
        begun
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .expect("a compiler is watched without a panic")
            })
            .collect()
    });
    let mut objects: Vec<PathBuf> = Result::from_iter::<Vec<Result<PathBuf>>>(objects)?;
    objects.push(compiler.object(&root().join("xtask/emulator/driver.cpp"), "driver", &dir)?);
    objects.push(compiler.object(&missing(&tests[1], &objects, &dir)?, "missing", &dir)?);
    compiler.link(&objects)?;
    for (tests, package) in tests.iter().zip(["kernels", "train"]) {
        let mut tests = Command::new(tests);
        let status = tests
            .current_dir(root().join("crates").join(package))
            .env("LD_LIBRARY_PATH", &dir)
            .status()?;
        ensure!(
            status.success(),
            "the tests of prl-{package} for a GPU ended with {status}"
        );
    }
    Ok(())
}

/// Where the CUDA toolkit lies.
fn cuda_home() -> Result<PathBuf> {
    let named = ["CUDA_HOME", "CUDA_PATH"]
        .iter()
        .find_map(std::env::var_os)
        .map(PathBuf::from);
    let home = named.unwrap_or_else(|| "/usr/local/cuda".into());
    ensure!(
        home.join("include").is_dir(),
        "{} is no CUDA toolkit; name one in CUDA_HOME",
        home.display()
    );
    Ok(home)
}

/// Where cargo keeps the sources of candle's kernels.
fn candle_kernels() -> Result<PathBuf> {
    let output = programs::cargo()
        .args([
            "metadata",
            "--format-version",
            "1",
            "--features",
            "prl-cli/cuda",
        ])
        .output()?;
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata said nothing")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;
    let package = packages
        .iter()
        .find(|package| package["name"] == "candle-kernels");
    let manifest = package
        .and_then(|package| package["manifest_path"].as_str())
        .context("there is no candle-kernels")?;
    Ok(Path::new(manifest).with_file_name("src"))
}

/// The C++ compiler, and what it is told.
struct Compiler<'a> {
    home: &'a Path,
    dir: &'a Path,
}

impl Compiler<'_> {
    /// The kernels of a CUDA file, each of which makes itself known.
    fn kernels(&self, source: &Path) -> Result<PathBuf> {
        let name = source
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let owner = if source.starts_with(root()) {
            "prl"
        } else {
            "candle"
        };
        let device = root().join("xtask/emulator/device.h");
        let head = format!("#include {device:?}\n{}", fs::read_to_string(source)?);
        let plain = self.dir.join(format!("{owner}-{name}.cpp"));
        fs::write(&plain, &head)?;
        let beside = source.parent().unwrap_or(self.dir);
        let whole = self
            .command(beside)
            .args(["-E", "-P"])
            .arg(&plain)
            .output()
            .context("failed to run c++")?;
        let whole = String::from_utf8_lossy(&whole.stdout).into_owned();
        let registered: String = names(&whole)
            .map(|kernel| {
                format!("static const stand_in::Kernel known_{kernel}({kernel:?}, &{kernel});\n")
            })
            .collect();
        fs::write(&plain, format!("{head}\n{registered}"))?;
        self.object(&plain, &format!("{owner}-{name}"), beside)
    }

    /// With headers of the toolkit, the stand-in's, and those beside a source.
    fn command(&self, beside: &Path) -> Command {
        let mut command = Command::new("c++");
        command.args(["-std=c++17", "-O2", "-fPIC", "-w", "-fpermissive"]);
        for headers in [
            &self.home.join("include"),
            &root().join("xtask/emulator"),
            self.dir,
            beside,
        ] {
            command.arg("-I").arg(headers);
        }
        command
    }

    fn object(&self, source: &Path, name: &str, beside: &Path) -> Result<PathBuf> {
        let object = self.dir.join(name).with_extension("o");
        run_quietly(
            self.command(beside)
                .arg("-c")
                .arg(source)
                .arg("-o")
                .arg(&object),
        )?;
        Ok(object)
    }

    /// The library, under every name that it is looked for, and the toolkit's own runtime beside it.
    fn link(&self, objects: &[PathBuf]) -> Result<()> {
        let library = self.dir.join(NAMES[0]);
        // Headers define functions in each of candle's files.
        run_quietly(
            self.command(self.dir)
                .args(["-shared", "-Wl,--allow-multiple-definition", "-o"])
                .arg(&library)
                .args(objects),
        )?;
        for name in &NAMES[1..] {
            // One file, or it would be loaded three times.
            let other = self.dir.join(name);
            _ = fs::remove_file(&other);
            fs::hard_link(&library, other)?;
        }
        let runtime = "libcudart.so.13";
        let places = ["lib64", "lib", "targets/x86_64-linux/lib"]
            .map(|lib| self.home.join(lib).join(runtime));
        let found = places
            .iter()
            .find(|place| place.exists())
            .context("the toolkit has no libcudart.so.13")?;
        fs::copy(found, self.dir.join(runtime))?;
        Ok(())
    }
}

/// The kernels that a preprocessed file defines.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let kernels = text
        .split("extern \"C\"")
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix("void "));
    kernels.filter_map(|rest| Some(rest.split_once('(')?.0.trim()))
}

/// A source with every function that a program asks the GPU's libraries for and the objects lack: each says so and fails.
fn missing(program: &Path, objects: &[PathBuf], dir: &Path) -> Result<PathBuf> {
    let symbols = |args: &[&str], files: &[&Path]| -> Result<Vec<String>> {
        let output = Command::new("nm")
            .args(args)
            .args(files)
            .output()
            .context("failed to run nm")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let last = |line: &str| {
            Some(
                line.split_whitespace()
                    .last()?
                    .split('@')
                    .next()?
                    .to_owned(),
            )
        };
        Ok(text.lines().filter_map(last).collect())
    };
    let objects: Vec<&Path> = objects.iter().map(PathBuf::as_path).collect();
    let there = symbols(&["--defined-only"], &objects)?;
    let of_gpu = |name: &&String| {
        let rest = name.strip_prefix("cu").unwrap_or_default();
        rest.starts_with(char::is_uppercase) || rest.starts_with("blas") || rest.starts_with("rand")
    };
    let asked = symbols(&["--dynamic", "--undefined-only"], &[program])?;
    let lacking = asked
        .iter()
        .filter(of_gpu)
        .filter(|name| !there.contains(name));
    let say = |name: &String| {
        format!(
            "extern \"C\" int {name}() {{ return (fprintf(stderr, \"stand-in: there is no {name}\\n\"), 801); }}\n"
        )
    };
    let source = dir.join("missing.cpp");
    fs::write(
        &source,
        format!(
            "#include <cstdio>\n{}",
            lacking.map(say).collect::<String>()
        ),
    )?;
    Ok(source)
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
    #[test]
    fn kernels_are_found_by_their_names() {
        let text = "extern \"C\" void take(float *out) {}\nvoid helper(int x);\nextern \"C\"  void put (float x);";
        assert_eq!(super::names(text).collect::<Vec<_>>(), ["take", "put"]);
    }
}
