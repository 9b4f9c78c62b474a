//! Folders of the machines' pages: `results/bench/HOST`, where HOST names processor, widest matrix
//! instructions and cores, or the GPU. A page of one machine never replaces that of another.

use std::fs;
use std::path::PathBuf;

use prl_experiments::{Machine, Workspace};

/// Words of a processor's name that do not distinguish it.
const COMMON_WORDS: [&str; 5] = ["r", "tm", "cpu", "processor", "core"];

/// Folder of the pages that are measured on a device of this machine.
pub fn folder(workspace: &Workspace, machine: &Machine, device: &str) -> PathBuf {
    let host = if device.starts_with("cuda") {
        words(machine.gpu.as_deref().unwrap_or("unknown gpu")).join("-")
    } else {
        cpu_host(&machine.processor, instructions(), machine.cores)
    };
    crate::results(workspace).join(host)
}

/// The machine's facts and its instructions, a line each.
pub fn fact_lines(machine: &Machine) -> Vec<String> {
    let mut lines = machine.lines();
    lines.insert(1, format!("instructions: {}", instructions()));
    lines
}

/// The machine's facts and its instructions as a Markdown list.
pub fn facts(machine: &Machine) -> String {
    let mut text = String::new();
    for line in fact_lines(machine) {
        text += &format!("- {line}\n");
    }
    text
}

/// The widest instructions for matrix products that the processor has.
pub fn instructions() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        // The system lists AMX only where programs may use it.
        let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let has = |flag: &str| flags.split_whitespace().any(|word| word == flag);
        if has("amx_bf16") {
            "AMX"
        } else if is_x86_feature_detected!("avx512bf16") {
            "AVX-512 BF16"
        } else if is_x86_feature_detected!("avx512f") {
            "AVX-512"
        } else if is_x86_feature_detected!("avx2") {
            "AVX2"
        } else {
            "SSE2"
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        _ = fs::metadata;
        "NEON"
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        _ = fs::metadata;
        "scalar"
    }
}

fn cpu_host(processor: &str, instructions: &str, cores: usize) -> String {
    let mut name = words(processor);
    name.extend(words(instructions));
    name.push(format!("{cores}-cores"));
    name.join("-")
}

/// Words in lower case, up to a clock rate, without the common ones.
fn words(name: &str) -> Vec<String> {
    let name = name.split('@').next().unwrap_or_default().to_lowercase();
    let mut words = Vec::new();
    for word in name.split(|c: char| !c.is_ascii_alphanumeric()) {
        if !word.is_empty() && !COMMON_WORDS.contains(&word) {
            words.push(word.to_owned());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_processor_instructions_and_cores() {
        let host = |processor, instructions| cpu_host(processor, instructions, 2);
        assert_eq!(
            host("Intel(R) Xeon(R) Processor", "AMX"),
            "intel-xeon-amx-2-cores"
        );
        assert_eq!(
            host("AMD EPYC", "AVX-512 BF16"),
            "amd-epyc-avx-512-bf16-2-cores"
        );
        assert_eq!(
            host("Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz", "AVX2"),
            "intel-i7-9750h-avx2-2-cores"
        );
        assert_eq!(words("NVIDIA H200").join("-"), "nvidia-h200");
    }

    #[test]
    fn this_machine_has_a_folder() {
        let workspace = Workspace::repository();
        let machine = Machine::detect(&workspace);
        let folder = folder(&workspace, &machine, "cpu");
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert!(name.ends_with("-cores") && name.len() > 10, "{name}");
    }
}
