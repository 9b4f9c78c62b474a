//! `cargo xtask dist`: everything a machine needs that has a GPU but neither Rust nor a network, in one folder.
//!
//! The folder holds the `prl` binary and the step bench, built for the device, the tests that need a GPU, this program with
//! PyTorch's side of the benches, prepared datasets, and `run`, a shell script that finds the GPU's libraries there and starts
//! a program. What this program does there is in `packed.rs`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::{programs, root};
use prl_experiments::write_file;
use prl_experiments::{bundle, code_version};

/// Flags of `pack`.
#[derive(clap::Args)]
pub struct Args {
    /// Prepared datasets to take along, each under its folder's name; `reproduce` there uses the one of each log
    #[arg(long, num_args = 0..)]
    data: Vec<PathBuf>,
    /// cuda, or cpu
    #[arg(long, default_value = "cuda")]
    device: String,
    /// The folder to make; it must not be there yet
    #[arg(long)]
    out: PathBuf,
}

/// PyTorch's side of the benches.
const PYTHON: &str = "xtask/parity";

/// What starts a program of the folder: `./run gpu_ops`, `./run gpu`, `./run prl train ..`, `./run step_speed --device cuda ..`,
/// `./run xtask bench --device cuda ..`.
const RUN: &str = r#"#!/bin/sh
# Starts a program of this folder with the GPU's libraries in reach: ./run prl train --device cuda --data data/NAME --out OUT
here=$(cd "$(dirname "$0")" && pwd)
program=$1
case $program in
  reproduce | status) program=prl-reproduce ;;
  *) shift ;;
esac
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
PRL_PACK=$here PRL_PACK_LIBRARIES=${LD_LIBRARY_PATH:-} LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}$found \
  exec "$here/bin/$program" "$@"
"#;

/// Builds and copies everything.
pub fn run(args: &Args) -> Result<()> {
    ensure!(
        !args.out.exists(),
        "{} is there already; name another --out",
        args.out.display()
    );
    let names = args
        .data
        .iter()
        .map(|data| dataset_name(data))
        .collect::<Result<Vec<_>>>()?;
    let prl = programs::prl_without_readers(&args.device)?;
    let built = code_version::build_info(crate::workspace(), &prl)?;
    let mut programs = vec![
        ("prl", prl),
        ("step_speed", programs::step_speed(&args.device)?),
        ("prl-reproduce", programs::prl_reproduce()?),
        ("xtask", programs::xtask()?),
    ];
    if args.device.starts_with("cuda") {
        programs.extend(programs::GPU_TESTS.into_iter().zip(programs::gpu_tests()?));
    }
    let out = std::path::absolute(&args.out)?;
    let part = out.with_extension("part");
    fs::create_dir_all(part.join(bundle::PROGRAMS_DIR))
        .with_context(|| format!("failed to make {}", part.display()))?;
    for (name, program) in &programs {
        copy(program, &part.join(bundle::PROGRAMS_DIR).join(name))?;
    }
    copy_files(&root().join(PYTHON), &part.join(PYTHON))?;
    fs::create_dir_all(part.join(bundle::DATA_DIR))?;
    for (data, name) in args.data.iter().zip(&names) {
        copy_files(data, &part.join(bundle::DATA_DIR).join(name))?;
    }
    write_file(
        &part.join(bundle::BUILD_INFO_FILE),
        serde_json::to_string_pretty(&built)?,
    )?;
    write_file(&part.join("run"), RUN)?;
    executable(&part.join("run"))?;
    fs::rename(&part, &out)?;
    println!("{}: try ./run prl --version there", args.out.display());
    Ok(())
}

/// The folder's name of a prepared dataset.
fn dataset_name(data: &Path) -> Result<String> {
    ensure!(
        data.join("manifest.json").is_file(),
        "{} is no prepared dataset: it has no manifest.json",
        data.display()
    );
    let name = data
        .canonicalize()?
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    name.with_context(|| format!("{} has no name", data.display()))
}

/// Copies the files of a folder, not its folders.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("failed to read {}", from.display()))? {
        let path = entry?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name()) {
            copy(&path, &to.join(name))?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("failed to copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

#[cfg(unix)]
fn executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o755),
    )?)
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
        fs::create_dir(dir.path().join("bin")).unwrap();
        let tool = "#!/bin/sh\necho \"$1 $LD_LIBRARY_PATH of $PRL_PACK_LIBRARIES in $PRL_PACK\"\n";
        fs::write(dir.path().join("bin/tool"), tool).unwrap();
        fs::write(dir.path().join("run"), RUN).unwrap();
        ["bin/tool", "run"]
            .iter()
            .for_each(|name| executable(&dir.path().join(name)).unwrap());
        let mut run = Command::new(dir.path().join("run"));
        run.env("CUDA_LIBRARIES", dir.path().join("gpu"))
            .env("LD_LIBRARY_PATH", "own");
        let output = run.args(["tool", "a b"]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(
            said.starts_with("a b own:") && said.contains(&lib.display().to_string()),
            "{said}"
        );
        assert!(
            said.ends_with(&format!(" of own in {}\n", dir.path().display())),
            "{said}"
        );
    }

    #[test]
    fn a_folder_that_is_no_dataset_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = dataset_name(dir.path()).unwrap_err().to_string();
        assert!(error.contains("no prepared dataset"), "{error}");
    }
}
