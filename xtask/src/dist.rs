//! `cargo xtask dist`: a bundle, one directory for a machine that has a GPU but neither Rust nor a
//! network.
//!
//! It has the `prl` binary and the step bench for the device, the GPU tests, `prl-reproduce` and
//! `prl-bench` with PyTorch's side of the benches, prepared datasets, the shell script `run`, which
//! finds the GPU's libraries and starts a program, and the script `device_check`, which runs tests
//! and benches in one go. The layout is documented in
//! [`prl_experiments::bundle`].

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use prl_experiments::{bundle, code_version, write_file};

use crate::{programs, root, workspace};

/// Flags of `dist`.
#[derive(clap::Args)]
pub struct Args {
    /// Prepared datasets to include, each under its directory's name; `reproduce` uses the one of
    /// each log
    #[arg(long, num_args = 0..)]
    data: Vec<PathBuf>,
    /// cuda or cpu
    #[arg(long, default_value = "cuda")]
    device: String,
    /// Directory to create; it must not exist
    #[arg(long)]
    out: PathBuf,
}

/// PyTorch's side of the benches.
const PYTHON_DIR: &str = "xtask/parity";

/// The script that starts a program of the bundle.
const RUN: &str = r#"#!/bin/sh
# Starts a program of this bundle with the GPU's libraries in the search path:
#   ./run prl train --device cuda --data data/NAME --out OUT
#   ./run reproduce ..      ./run bench --device cuda ..      ./run gpu_ops
here=$(cd "$(dirname "$0")" && pwd)
# Former spelling: ./run xtask bench ..
if [ "$1" = xtask ]; then shift; fi
case $1 in
  reproduce | status | perform) program=prl-reproduce ;;
  bench) program=prl-bench && shift ;;
  *) program=$1 && shift ;;
esac
places="${CUDA_LIBRARIES:-} /usr/local/nvidia /usr/local/cuda* /usr/lib/x86_64-linux-gnu
  $(python3 -c 'import site; print(*(p + "/nvidia" for p in site.getsitepackages()))' 2>/dev/null)"
found=
for library in libcublas.so.13 libcurand.so.10 libcudart.so.13 libcuda.so.1; do
  for place in $places; do
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

/// The script that runs the GPU tests and the benches in one go.
const DEVICE_CHECK: &str = include_str!("../device_check.sh");

/// Builds the programs and copies everything.
///
/// # Errors
/// If a program does not build, a dataset is not one, or the directory exists.
pub fn run(args: &Args) -> Result<()> {
    ensure!(
        !args.out.exists(),
        "{} exists already; name another --out",
        args.out.display()
    );
    let mut datasets = Vec::new();
    for data in &args.data {
        datasets.push((data, dataset_name(data)?));
    }
    let programs = build_programs(&args.device)?;
    let (_, prl) = &programs[0];
    let build_info = code_version::build_info(workspace(), prl)?;
    let out = std::path::absolute(&args.out)?;
    // Renamed at the end, so that a bundle is complete or missing.
    let part = out.with_extension("part");
    let bin = part.join(bundle::PROGRAMS_DIR);
    fs::create_dir_all(&bin).with_context(|| format!("failed to create {}", bin.display()))?;
    for (name, program) in &programs {
        copy(program, &bin.join(name))?;
    }
    copy_files(&root().join(PYTHON_DIR), &part.join(PYTHON_DIR))?;
    let data_dir = part.join(bundle::DATA_DIR);
    fs::create_dir_all(&data_dir)?;
    for (data, name) in &datasets {
        copy_files(data, &data_dir.join(name))?;
    }
    write_file(
        &part.join(bundle::BUILD_INFO_FILE),
        serde_json::to_string_pretty(&build_info)?,
    )?;
    for (name, script) in [("run", RUN), ("device_check", DEVICE_CHECK)] {
        write_file(&part.join(name), script)?;
        make_executable(&part.join(name))?;
    }
    fs::rename(&part, &out)?;
    println!("{}: try ./run prl --version there", args.out.display());
    Ok(())
}

/// Names and paths of the bundle's programs, `prl` first.
fn build_programs(device: &str) -> Result<Vec<(&'static str, PathBuf)>> {
    let [reproduce, bench] = programs::prl_reproduce_and_bench()?;
    let mut programs = vec![
        ("prl", programs::prl_without_readers(device)?),
        ("step_speed", programs::step_speed(device)?),
        ("prl-reproduce", reproduce),
        ("prl-bench", bench),
    ];
    if device.starts_with("cuda") {
        programs.extend(programs::GPU_TESTS.into_iter().zip(programs::gpu_tests()?));
    }
    Ok(programs)
}

/// Name of a prepared dataset's directory.
fn dataset_name(data: &Path) -> Result<String> {
    ensure!(
        data.join("manifest.json").is_file(),
        "{} is no prepared dataset: it has no manifest.json; create one by `prl prepare`",
        data.display()
    );
    let path = data.canonicalize()?;
    let name = path
        .file_name()
        .with_context(|| format!("{} has no name", data.display()))?;
    Ok(name.to_string_lossy().into_owned())
}

/// Copies the files of a directory, without its subdirectories.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("failed to read {}", from.display()))? {
        let entry = entry?;
        if entry.path().is_file() {
            copy(&entry.path(), &to.join(entry.file_name()))?;
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
fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(path, mode)?;
    Ok(())
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Command;

    use super::*;

    /// A bundle whose programs print their name, arguments and environment. Its directory `gpu` has
    /// all libraries, so that the script does not search the system.
    fn bundle_with(programs: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        fs::create_dir_all(dir.path().join("gpu/deep")).unwrap();
        for library in ["cublas.so.13", "curand.so.10", "cudart.so.13", "cuda.so.1"] {
            fs::write(dir.path().join(format!("gpu/deep/lib{library}")), "").unwrap();
        }
        let script = "#!/bin/sh\necho \"${0##*/} $* $LD_LIBRARY_PATH of $PRL_PACK_LIBRARIES in $PRL_PACK\"\n";
        for name in programs {
            let program = dir.path().join("bin").join(name);
            fs::write(&program, script).unwrap();
            make_executable(&program).unwrap();
        }
        let run = dir.path().join("run");
        fs::write(&run, RUN).unwrap();
        make_executable(&run).unwrap();
        dir
    }

    fn output_of(dir: &Path, args: &[&str]) -> String {
        let mut run = Command::new(dir.join("run"));
        run.env("CUDA_LIBRARIES", dir.join("gpu"));
        run.env("LD_LIBRARY_PATH", "own");
        let output = run.args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn script_adds_the_libraries_that_it_finds() {
        let dir = bundle_with(&["tool"]);
        let libraries = dir.path().join("gpu/deep");
        let output = output_of(dir.path(), &["tool", "a b"]);
        assert!(output.starts_with("tool a b own:"), "{output}");
        assert!(
            output.contains(&libraries.display().to_string()),
            "{output}"
        );
        let environment = format!(" of own in {}\n", dir.path().display());
        assert!(output.ends_with(&environment), "{output}");
    }

    #[test]
    fn device_check_runs_every_part_and_fails_with_a_test() {
        let dir = bundle_with(&["gpu_ops", "gpu", "step_speed", "prl-bench"]);
        fs::write(dir.path().join("bin/gpu"), "#!/bin/sh\nexit 3\n").unwrap();
        let check = dir.path().join("device_check");
        fs::write(&check, DEVICE_CHECK).unwrap();
        make_executable(&check).unwrap();
        let mut command = Command::new(&check);
        command.env("CUDA_LIBRARIES", dir.path().join("gpu"));
        command.env("OUT", dir.path().join("out"));
        let output = command.arg("100").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let summary = fs::read_to_string(dir.path().join("out/summary")).unwrap();
        assert!(summary.contains("gpu: exit status 3"), "{summary}");
        for part in [
            "gpu_ops", "graphs", "eager", "tf32", "bf16", "small", "bench",
        ] {
            let ended = format!("{part}: exit status 0");
            assert!(summary.contains(&ended), "{part}: {summary}");
        }
        let log = fs::read_to_string(dir.path().join("out/bf16.log")).unwrap();
        assert!(log.contains("--head-dtype bf16"), "{log}");
    }

    #[test]
    fn script_maps_commands_to_programs() {
        let dir = bundle_with(&["prl", "prl-reproduce", "prl-bench"]);
        let started = |args: &[&str]| {
            let output = output_of(dir.path(), args);
            output.split(" own").next().unwrap().to_owned()
        };
        assert_eq!(started(&["prl", "train"]), "prl train");
        assert_eq!(
            started(&["reproduce", "--jobs", "2"]),
            "prl-reproduce reproduce --jobs 2"
        );
        assert_eq!(started(&["status"]), "prl-reproduce status");
        assert_eq!(started(&["bench", "peers"]), "prl-bench peers");
        assert_eq!(started(&["xtask", "bench", "peers"]), "prl-bench peers");
    }

    #[test]
    fn directory_without_manifest_is_no_dataset() {
        let dir = tempfile::tempdir().unwrap();
        let error = dataset_name(dir.path()).unwrap_err().to_string();
        assert!(error.contains("no prepared dataset"), "{error}");
    }
}
