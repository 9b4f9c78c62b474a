//! Memory that a training needs at least, beside what this process can have.

use std::fs;
use std::path::Path;

use prl_runs::{Config, Error, Result};

/// Bytes of an element of a table with Adam's two moments.
const TRAINED_BYTES: u64 = 3 * 4;

/// Fails if the item tables and the smallest network, with their moments, alone exceed the memory
/// that this process can have: the allocation would end the process without a hint.
///
/// # Errors
/// [`Error::Memory`].
pub(crate) fn check(config: &Config, items: usize) -> Result<()> {
    if !config.method.is_neural() {
        return Ok(());
    }
    check_limit(config, items, limit())
}

fn check_limit(config: &Config, items: usize, limit: Option<u64>) -> Result<()> {
    let needed = least_bytes(config, items);
    match limit {
        Some(limit) if needed > limit => Err(Error::Memory {
            needed,
            limit,
            what: format!(
                "a network and the vectors of {items} items in {} dimensions, with their moments,",
                config.model.dim
            ),
        }),
        _ => Ok(()),
    }
}

/// Bytes of the item embedding, of an output table of its own, of the two square matrices that
/// every encoder but Caser has at least, and of the moments of all.
fn least_bytes(config: &Config, items: usize) -> u64 {
    let tables = if config.model.tied { 1 } else { 2 };
    let (items, dim) = (items as u64, config.model.dim as u64);
    let square = if config.model.encoder.name() == "caser" {
        0
    } else {
        2 * dim
    };
    let rows = items.saturating_mul(tables).saturating_add(square);
    rows.saturating_mul(dim).saturating_mul(TRAINED_BYTES)
}

/// Bytes that this process can have: the smallest of the machine's memory with swap, the limit of
/// its control group, and the limit of its address space. `None` if none is known.
fn limit() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let limits = [
        of_machine(&read("/proc/meminfo")),
        of_control_group(&read("/proc/self/cgroup"), Path::new("/sys/fs/cgroup")),
        of_address_space(&read("/proc/self/limits")),
    ];
    limits.into_iter().flatten().min()
}

/// Memory and swap of `/proc/meminfo`.
fn of_machine(text: &str) -> Option<u64> {
    let mut sum = None;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let Some("MemTotal:" | "SwapTotal:") = words.next() {
            let kibibytes: u64 = words.next()?.parse().ok()?;
            sum = Some(sum.unwrap_or(0) + (kibibytes << 10));
        }
    }
    sum
}

/// The smallest `memory.max` of the control group and those above it (version 2).
fn of_control_group(text: &str, root: &Path) -> Option<u64> {
    let mut group = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut least = None;
    loop {
        let file = root.join(group).join("memory.max");
        if let Ok(text) = fs::read_to_string(file)
            && let Ok(bytes) = text.trim().parse::<u64>()
        {
            least = Some(least.map_or(bytes, |least: u64| least.min(bytes)));
        }
        if group.is_empty() {
            return least;
        }
        group = group.rsplit_once('/').map_or("", |(above, _)| above);
    }
}

/// Soft limit of the address space in `/proc/self/limits`.
fn of_address_space(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_beyond_the_memory_are_refused_before_they_are_allocated() {
        let mut config = Config::default();
        config.model.dim = 100;
        assert_eq!(least_bytes(&config, 1_000_000), 2_400_240_000);
        config.model.tied = true;
        assert_eq!(least_bytes(&config, 1_000_000), 1_200_240_000);
        let check = |limit| check_limit(&config, 1_000_000, limit);
        assert!(check(None).is_ok());
        assert!(check(Some(1_200_240_000)).is_ok());
        let error = check(Some(1_100_000_000)).unwrap_err().to_string();
        let expected = "too little memory: a network and the vectors of 1000000 items in 100 \
                        dimensions, with their moments, need at least 1.2 GB, and this process can have 1.1 GB; lower --dim, \
                        raise the item filter of `prl prepare`, or use a larger machine";
        assert_eq!(error, expected);
    }

    #[test]
    fn limits_are_read_from_the_system() {
        let meminfo = "MemTotal:       1000 kB\nMemFree: 1 kB\nSwapTotal:      24 kB\n";
        assert_eq!(of_machine(meminfo), Some(1 << 20));
        assert_eq!(of_machine(""), None);
        let limits = "Limit  Soft Limit  Hard Limit  Units\n\
                      Max address space         4096                 unlimited            bytes\n";
        assert_eq!(of_address_space(limits), Some(4096));
        assert_eq!(of_address_space(&limits.replace("4096", "unlimited")), None);
        let dir = tempfile::tempdir().unwrap();
        let group = dir.path().join("a/b");
        fs::create_dir_all(&group).unwrap();
        fs::write(group.join("memory.max"), "max\n").unwrap();
        fs::write(dir.path().join("a/memory.max"), "700\n").unwrap();
        assert_eq!(of_control_group("0::/a/b\n", dir.path()), Some(700));
        assert_eq!(of_control_group("0::/c\n", dir.path()), None);
        assert_eq!(of_control_group("1:cpu:/a\n", dir.path()), None);
    }
}
