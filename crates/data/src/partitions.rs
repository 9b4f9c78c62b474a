//! Columns in the names of folders, as Hive writes them: `event=pv/part-0.parquet`.

use std::path::Path;

/// Value of a missing partition.
const MISSING: &str = "__HIVE_DEFAULT_PARTITION__";

/// Column that a folder's name gives to all rows below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Partition {
    /// Name of the column.
    pub name: String,
    /// Value of all rows; `None` if it is missing.
    pub value: Option<String>,
    /// True for a folder in the path that the options give, rather than below it.
    pub is_above: bool,
}

/// Partitions of the file `name`, a path below `root`, outermost first.
pub(crate) fn of(root: &Path, name: &str) -> Vec<Partition> {
    let mut partitions = Vec::new();
    for component in root.components() {
        let folder = component.as_os_str().to_string_lossy();
        partitions.extend(partition(&folder, true));
    }
    let Some((folders, _)) = name.rsplit_once('/') else {
        return partitions;
    };
    for folder in folders.split('/') {
        partitions.extend(partition(folder, false));
    }
    partitions
}

fn partition(folder: &str, is_above: bool) -> Option<Partition> {
    let (name, value) = folder.split_once('=')?;
    Some(Partition {
        name: percent_decoded(name),
        value: (value != MISSING).then(|| percent_decoded(value)),
        is_above,
    })
}

/// Decodes `%3A` and the like to bytes. Text without them, or whose bytes are not text, is returned
/// unchanged.
fn percent_decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match digits.map(|digits| u8::from_str_radix(digits, 16)) {
            Some(Ok(decoded)) if byte == b'%' && after[0] != b'+' => {
                bytes.push(decoded);
                rest = &after[2..];
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_give_columns_decoded_and_outermost_first() {
        let found = of(
            Path::new("/logs/site=de"),
            "day=2014-04-07 10%3A51/event=__HIVE_DEFAULT_PARTITION__/x/part=0.parquet",
        );
        let partition = |name: &str, value: Option<&str>, is_above| Partition {
            name: name.into(),
            value: value.map(str::to_owned),
            is_above,
        };
        assert_eq!(
            found,
            [
                partition("site", Some("de"), true),
                partition("day", Some("2014-04-07 10:51"), false),
                partition("event", None, false),
            ]
        );
    }

    #[test]
    fn what_is_not_encoded_stays() {
        for (text, expected) in [
            ("100%", "100%"),
            ("%zz", "%zz"),
            ("%+5", "%+5"),
            ("%C3%A9", "é"),
            ("%ff", "%ff"),
            ("a%2Fb%3d", "a/b="),
        ] {
            assert_eq!(percent_decoded(text), expected);
        }
    }
}
