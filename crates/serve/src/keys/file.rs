//! TOML file of keys. No message about it contains a value of the file, as that may be a secret.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::{Table, Value};

use super::quota::Quota;
use super::{Key, Role, SecretDigest};

/// Minimum length of a secret in bytes: a digest protects only secrets that cannot be guessed.
const MIN_SECRET: usize = 16;
/// Maximum length of a name, which is a label of metrics.
const MAX_NAME: usize = 64;
/// Maximum of a quota.
const MAX_QUOTA: f64 = 1e6;

const FIELDS: [&str; 6] = ["name", "secret", "sha256", "roles", "per_second", "burst"];

/// Keys file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("invalid keys file {}: {what}", path.display())]
pub struct KeysError {
    path: PathBuf,
    what: String,
}

/// The keys of a file.
pub(super) fn read(path: &Path) -> Result<Vec<Key>, KeysError> {
    let error = |what: String| KeysError {
        path: path.to_owned(),
        what,
    };
    let text = std::fs::read_to_string(path).map_err(|e| error(e.to_string()))?;
    warn_if_readable(path);
    parse(&text).map_err(error)
}

/// Fails if two keys share a name or a secret.
pub(super) fn check_unique(path: &Path, keys: &[Key]) -> Result<(), KeysError> {
    let error = |what: String| KeysError {
        path: path.to_owned(),
        what,
    };
    let mut digests: HashMap<&[u8; 32], &str> = HashMap::new();
    for (i, key) in keys.iter().enumerate() {
        if keys[..i].iter().any(|other| other.name == key.name) {
            return Err(error(format!(
                "the name {:?} is given twice; each key has its own",
                key.name
            )));
        }
        if let Some(other) = digests.insert(&key.digest.0, &key.name) {
            return Err(error(format!(
                "the keys {other:?} and {:?} have the same secret",
                key.name
            )));
        }
    }
    Ok(())
}

/// The keys of a file's text.
pub(super) fn parse(text: &str) -> Result<Vec<Key>, String> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text[..start.min(text.len())].matches('\n').count() + 1;
        format!("line {line} is not valid TOML")
    })?;
    for name in table.keys() {
        if name != "key" {
            return Err(format!("unknown field {name}; expected [[key]] entries"));
        }
    }
    let entries = match table.get("key") {
        Some(Value::Array(entries)) if !entries.is_empty() => entries,
        // No keys would mean that none is needed.
        _ => return Err("it has no [[key]] entry; prl key makes one".into()),
    };
    let mut keys = Vec::with_capacity(entries.len());
    for (i, entry) in entries.iter().enumerate() {
        let key = match entry {
            Value::Table(entry) => parse_key(entry),
            _ => Err("expected a [[key]] entry".into()),
        };
        keys.push(key.map_err(|what| format!("key {}: {what}", i + 1))?);
    }
    Ok(keys)
}

fn parse_key(entry: &Table) -> Result<Key, String> {
    for field in entry.keys() {
        if !FIELDS.contains(&field.as_str()) {
            let known = FIELDS.join(", ");
            return Err(format!("unknown field {field}; expected {known}"));
        }
    }
    Ok(Key {
        name: name(entry)?,
        digest: digest(entry)?,
        roles: roles(entry)?,
        quota: quota(entry)?.map(Arc::new),
    })
}

fn text<'a>(entry: &'a Table, field: &str) -> Result<Option<&'a str>, String> {
    match entry.get(field) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{field} is not a text")),
    }
}

fn name(entry: &Table) -> Result<Arc<str>, String> {
    let name = text(entry, "name")?.ok_or("name is missing")?;
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_allowed) {
        return Err(format!(
            "name: expected 1 to {MAX_NAME} letters, digits, dots, - or _"
        ));
    }
    Ok(name.into())
}

fn digest(entry: &Table) -> Result<SecretDigest, String> {
    match (text(entry, "secret")?, text(entry, "sha256")?) {
        (Some(secret), None) => {
            let is_sendable = secret.bytes().all(|b| b.is_ascii_graphic());
            if secret.len() < MIN_SECRET || !is_sendable {
                return Err(format!(
                    "secret: expected at least {MIN_SECRET} visible ASCII characters without \
                     spaces; prl key makes one"
                ));
            }
            Ok(SecretDigest::of(secret.as_bytes()))
        }
        (None, Some(hex)) => SecretDigest::from_hex(hex)
            .ok_or_else(|| "sha256: expected 64 hexadecimal digits".into()),
        _ => Err("expected either secret or sha256".into()),
    }
}

fn roles(entry: &Table) -> Result<Vec<Role>, String> {
    let expected = "roles: expected a list of \"ask\", \"write\" and \"admin\", not empty";
    let Some(Value::Array(values)) = entry.get("roles") else {
        return Err(expected.into());
    };
    let mut roles = Vec::with_capacity(values.len());
    for value in values {
        let role: Result<Role, _> = value.clone().try_into();
        roles.push(role.map_err(|_| expected)?);
    }
    if roles.is_empty() {
        return Err(expected.into());
    }
    Ok(roles)
}

fn quota(entry: &Table) -> Result<Option<Quota>, String> {
    let number = |field: &str| match entry.get(field) {
        None => Ok(None),
        Some(Value::Integer(number)) => Ok(Some(*number as f64)),
        Some(Value::Float(number)) => Ok(Some(*number)),
        Some(_) => Err(format!("{field} is not a number")),
    };
    let (rate, burst) = (number("per_second")?, number("burst")?);
    let Some(rate) = rate else {
        return match burst {
            Some(_) => Err("burst needs per_second".into()),
            None => Ok(None),
        };
    };
    if !(rate > 0.0 && rate <= MAX_QUOTA) {
        return Err(format!(
            "per_second: expected a number above 0 and at most {MAX_QUOTA}"
        ));
    }
    let burst = burst.unwrap_or(rate.ceil());
    if !(1.0..=MAX_QUOTA).contains(&burst) {
        return Err(format!("burst: expected a number from 1 to {MAX_QUOTA}"));
    }
    Ok(Some(Quota::new(rate, burst)))
}

/// Warns if other users of the machine can read the file.
#[cfg(unix)]
fn warn_if_readable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(metadata) = std::fs::metadata(path) else {
        return;
    };
    if metadata.permissions().mode() & 0o004 != 0 {
        tracing::warn!(path = %path.display(), "all users can read the keys file; chmod o-r it");
    }
}

#[cfg(not(unix))]
fn warn_if_readable(_: &Path) {}

#[cfg(test)]
mod tests {
    use super::super::Keyring;
    use super::{Role, parse};

    const SECRET: &str = "0123456789abcdef";

    #[test]
    fn key_entry_is_read_plain_or_hashed() {
        // printf 0123456789abcdef | sha256sum
        let hash = "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f";
        let text = format!(
            "[[key]]\nname = 'a'\nsha256 = '{hash}'\nroles = ['ask']\nper_second = 2\n\
             [[key]]\nname = 'b'\nsecret = 'fedcba9876543210'\nroles = ['write', 'ask']\n\
             [[key]]\nname = 'c'\nsecret = 'other-secret-of-admin'\nroles = ['admin']\n"
        );
        let keys = Keyring(parse(&text).unwrap());
        let found = |secret: &str| keys.find(secret.as_bytes()).map(|key| key.name.to_string());
        assert_eq!(found(SECRET).as_deref(), Some("a"));
        assert_eq!(found("fedcba9876543210").as_deref(), Some("b"));
        assert_eq!(found(&hash[..16]), None);
        assert_eq!(found(""), None);
        let roles = |i: usize| [Role::Ask, Role::Write, Role::Admin].map(|r| keys.0[i].has(r));
        assert_eq!(roles(0), [true, false, false]);
        assert_eq!(roles(1), [true, true, false]);
        assert_eq!(roles(2), [true, true, true]);
        assert_eq!(keys.0[0].take(), Ok(()));
        assert_eq!(keys.0[0].take(), Ok(()));
        assert_eq!(keys.0[0].take(), Err(1));
    }

    #[test]
    fn key_entry_is_refused_without_its_secret_in_the_message() {
        let entry = |fields: &str| format!("[[key]]\n{fields}\n");
        let ask = "roles = ['ask']";
        for (text, cause) in [
            (String::new(), "no [[key]] entry"),
            ("key = []".into(), "no [[key]] entry"),
            ("key = 'hush-hush-hush-hush'".into(), "no [[key]] entry"),
            (
                "[[key]]\nname = hush-hush".into(),
                "line 2 is not valid TOML",
            ),
            ("[[keys]]".into(), "unknown field keys"),
            (
                entry(&format!("secret = '{SECRET}'\n{ask}")),
                "key 1: name is missing",
            ),
            (
                entry(&format!("name = 'a b'\nsecret = '{SECRET}'\n{ask}")),
                "name: expected 1 to 64",
            ),
            (
                entry(&format!("name = 'a'\n{ask}")),
                "either secret or sha256",
            ),
            (
                entry(&format!("name = 'a'\nsecret = 'hush'\n{ask}")),
                "secret: expected at least 16",
            ),
            (
                entry(&format!("name = 'a'\nsecret = 7777777\n{ask}")),
                "secret is not a text",
            ),
            (
                entry(&format!("name = 'a'\nsha256 = 'hush'\n{ask}")),
                "sha256: expected 64",
            ),
            (
                entry(&format!("name = 'a'\nsecret = '{SECRET}'")),
                "roles: expected a list",
            ),
            (
                entry(&format!(
                    "name = 'a'\nsecret = '{SECRET}'\nroles = ['root']"
                )),
                "roles: expected a list",
            ),
            (
                entry(&format!(
                    "name = 'a'\nsecret = '{SECRET}'\n{ask}\nper_second = 0"
                )),
                "per_second: expected",
            ),
            (
                entry(&format!(
                    "name = 'a'\nsecret = '{SECRET}'\n{ask}\nburst = 2"
                )),
                "burst needs per_second",
            ),
            (
                entry(&format!("name = 'a'\nsecret = '{SECRET}'\n{ask}\nrate = 2")),
                "unknown field rate",
            ),
        ] {
            let error = parse(&text).err().unwrap();
            assert!(error.contains(cause), "{text}: {error}");
            for secret in [SECRET, "hush", "7777777", "root"] {
                assert!(!error.contains(secret), "{text}: {error}");
            }
        }
    }
}
