//! Compiles the CUDA kernels to PTX, which the driver compiles at run time. Needs `nvcc`; does
//! nothing without the feature `cuda`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=cuda");
    for name in ["NVCC", "CUDA_HOME", "CUDA_COMPUTE_CAP"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
        for entry in fs::read_dir("cuda").expect("the kernels lie in cuda/") {
            let source = entry.expect("cuda/ can be read").path();
            if source
                .extension()
                .is_some_and(|extension| extension == "cu")
            {
                compile(&source, &out);
            }
        }
    }
}

fn compile(source: &Path, out: &Path) {
    let home = env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("bin/nvcc"));
    let nvcc = env::var_os("NVCC")
        .map(PathBuf::from)
        .or(home)
        .unwrap_or_else(|| "nvcc".into());
    // PTX is forward compatible: a newer GPU runs code for an older one.
    let capability = env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| "80".into());
    let ptx = out
        .join(source.file_name().expect("a source has a name"))
        .with_extension("ptx");
    let status = Command::new(&nvcc)
        .args([
            "-ptx",
            "-O3",
            "-std=c++17",
            &format!("-arch=compute_{capability}"),
            "-o",
        ])
        .arg(&ptx)
        .arg(source)
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{} on {}: {status}", nvcc.display(), source.display()),
        Err(e) => {
            panic!(
                "{}: {e}; the feature `cuda` needs the CUDA toolkit, by NVCC, CUDA_HOME or PATH",
                nvcc.display()
            )
        }
    }
}
