//! `cargo xtask pack`: everything a machine needs that has a GPU but neither Rust nor a network, in one folder.
//!
//! The folder holds the `prl` binary and the step bench, built for the device, the tests that need a GPU, prepared datasets, and
//! `run`, a shell script that finds the GPU's libraries there and starts one of them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::binary;
use crate::files::write_whole;

/// Flags of `pack`.
#[derive(clap::Args)]
pub struct Args {
    /// Prepared datasets to take along, each under its folder's name
    #[arg(long, num_args = 0..)]
    data: Vec<PathBuf>,
    /// cuda, or cpu
    #[arg(long, default_value = "cuda")]
    device: String,
    /// The folder to make; it must not be there yet
    #[arg(long)]
    out: PathBuf,
}

/// What starts a program of the folder: `./run gpu_ops`, `./run gpu`, `./run prl train ..`, `./run step_speed --device cuda ..`.
const RUN: &str = r#"#!/bin/sh
# Starts a program of this folder with the GPU's libraries in reach: ./run prl train --device cuda --data data/NAME --out OUT
here=$(cd "$(dirname "$0")" && pwd)
program=$1
shift
found=
for library in libcublas.so.13 libcurand.so.10 libcudart.so.13 libcuda.so.1; do
  for place in ${CUDA_LIBRARIES:-} /usr/local/nvidia /usr/local/cuda* /usr/lib/x86_64-linux-gnu \
    $(python3 -c 'import site; print(*(p + "/nvidia" for p in site.getsitepackages()))' 2>/dev/null); do
    file=$(find -L "$place" -name "$library" -print 2>/dev/null | head -n 1)
    if [ -n "$file" ]; then
      found=$found:$(dirname "$file")
      break
    fi
  done
done
LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}$found exec "$here/$program" "$@"
"#;

/// Builds and copies everything.
pub fn run(args: &Args) -> Result<()> {
    ensure!(!args.out.exists(), "{} is there already; name another --out", args.out.display());
    let names = args.data.iter().map(|data| dataset_name(data)).collect::<Result<Vec<_>>>()?;
    let mut programs =
        vec![("prl", binary::prl_without_readers(&args.device)?), ("step_speed", binary::step_speed(&args.device)?)];
    if args.device.starts_with("cuda") {
        programs.extend(binary::GPU_TESTS.into_iter().zip(binary::gpu_tests()?));
    }
    let out = std::path::absolute(&args.out)?;
    let part = out.with_extension("part");
    fs::create_dir_all(part.join("data")).with_context(|| format!("failed to make {}", part.display()))?;
    for (name, program) in &programs {
        copy(program, &part.join(name))?;
    }
    for (data, name) in args.data.iter().zip(&names) {
        let to = part.join("data").join(name);
        fs::create_dir_all(&to)?;
        for entry in fs::read_dir(data)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    write_whole(&part.join("run"), RUN)?;
    executable(&part.join("run"))?;
    fs::rename(&part, &out)?;
    println!("{}: try ./run prl --version there", args.out.display());
    Ok(())
}

/// The folder's name of a prepared dataset.
fn dataset_name(data: &Path) -> Result<String> {
    ensure!(data.join("manifest.json").is_file(), "{} is no prepared dataset: it has no manifest.json", data.display());
    let name = data.canonicalize()?.file_name().map(|name| name.to_string_lossy().into_owned());
    name.with_context(|| format!("{} has no name", data.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("failed to copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

#[cfg(unix)]
fn executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

#[cfg(not(unix))]
fn executable(_: &Path) -> Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_script_starts_what_lies_beside_it_with_the_libraries_it_finds() {
        let dir = tempfile::tempdir().unwrap();
        let lib = dir.path().join("gpu/deep");
        fs::create_dir_all(&lib).unwrap();
        fs::write(lib.join("libcublas.so.13"), "").unwrap();
        fs::write(dir.path().join("tool"), "#!/bin/sh\necho \"$1 $LD_LIBRARY_PATH\"\n").unwrap();
        fs::write(dir.path().join("run"), RUN).unwrap();
        ["tool", "run"].iter().for_each(|name| executable(&dir.path().join(name)).unwrap());
        let mut run = Command::new(dir.path().join("run"));
        let output = run.args(["tool", "a b"]).env("CUDA_LIBRARIES", dir.path().join("gpu")).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.starts_with("a b ") && said.contains(&lib.display().to_string()), "{said}");
    }

    #[test]
    fn a_folder_that_is_no_dataset_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = dataset_name(dir.path()).unwrap_err().to_string();
        assert!(error.contains("no prepared dataset"), "{error}");
    }
}
