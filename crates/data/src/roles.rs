//! Roles of a table's columns, and the origin of each role's values in a file.

use std::iter::{RepeatN, repeat_n};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::columns::Columns;
use crate::delimited_reader::find;
use crate::error::{Error, Result};
use crate::input::Shared;
use crate::table_reader::Value;

/// Hint for a mapping that names a column that does not exist.
const HINT: &str =
    "name the right one: session=..,time=..,item=..[,event=..][,split=..][,value=..]";

/// Role of a column in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Session,
    Time,
    Item,
    Event,
    Split,
    Value,
}

impl Role {
    const ALL: [Role; 6] = [
        Role::Session,
        Role::Time,
        Role::Item,
        Role::Event,
        Role::Split,
        Role::Value,
    ];

    /// Name of the column in this role.
    fn column(self, columns: &Columns) -> Option<&str> {
        match self {
            Role::Session => Some(&columns.session),
            Role::Time => columns.time.as_deref(),
            Role::Item => Some(&columns.item),
            Role::Event => columns.event.as_deref(),
            Role::Split => columns.split.as_deref(),
            Role::Value => columns.value.as_deref(),
        }
    }
}

/// Origin of the values of each role in a file.
#[derive(Clone, Debug)]
pub(crate) struct Roles {
    path: PathBuf,
    origins: Vec<(Role, Origin)>,
    /// Columns to read: name, and index among the columns of the file.
    columns: Vec<(String, usize)>,
}

/// Origin of the values of a role.
#[derive(Clone, Debug)]
enum Origin {
    /// Column, by its position in [`Roles::columns`].
    Column(usize),
    /// Value that all rows share; `None` is a missing one.
    Constant { name: String, value: Option<String> },
}

/// Values of a role, one per row.
pub(crate) enum RoleValues<'a, I> {
    Column(I),
    Constant(RepeatN<Value<'a>>),
    Order(Range<i64>),
}

impl Roles {
    /// Finds the roles of the file or frame `source`, which has the columns `found`.
    pub(crate) fn new(
        source: &Path,
        shared: &Shared,
        found: &[String],
        columns: &Columns,
    ) -> Result<Self> {
        let mut roles = Self {
            path: source.to_owned(),
            origins: Vec::new(),
            columns: Vec::new(),
        };
        for role in Role::ALL {
            let own = match role {
                Role::Event => shared.kind.clone(),
                Role::Split => shared.split.map(|split| split.name().to_owned()),
                _ => None,
            };
            if let Some(value) = own {
                let (name, value) = ("input".into(), Some(value));
                roles.origins.push((role, Origin::Constant { name, value }));
            } else if let Some(name) = role.column(columns) {
                let origin = roles.origin(shared, found, name)?;
                roles.origins.push((role, origin));
            }
        }
        Ok(roles)
    }

    /// Origin of the mapped column `name`: the file, or the name of a folder.
    fn origin(&mut self, shared: &Shared, found: &[String], name: &str) -> Result<Origin> {
        let is_in_file = found.iter().any(|column| column == name);
        for folder in shared.partitions.iter().rev() {
            if folder.name != name || (is_in_file && folder.is_above) {
                continue;
            }
            if is_in_file {
                let value = folder.value.as_deref().unwrap_or_default();
                let why = format!(
                    "both the file and its folder {name}={value} have a column {name:?}; rename the one or the other"
                );
                return Err(Error::file(&self.path, why));
            }
            return Ok(Origin::Constant {
                name: name.to_owned(),
                value: folder.value.clone(),
            });
        }
        let index = find(&self.path, found, name, HINT)?;
        self.columns.push((name.to_owned(), index));
        Ok(Origin::Column(self.columns.len() - 1))
    }

    /// Columns to read: name, and index among the columns of the file.
    pub(crate) fn columns(&self) -> &[(String, usize)] {
        &self.columns
    }

    /// True if anything gives the role's values.
    pub(crate) fn has(&self, role: Role) -> bool {
        self.of(role).is_some()
    }

    /// Position of the role's column among [`Roles::columns`], if a column gives its values.
    pub(crate) fn column(&self, role: Role) -> Option<usize> {
        match self.of(role) {
            Some(Origin::Column(position)) => Some(*position),
            _ => None,
        }
    }

    /// Role of the column at this position.
    pub(crate) fn role(&self, position: usize) -> Option<Role> {
        let mut roles = Role::ALL.into_iter();
        roles.find(|&role| self.column(role) == Some(position))
    }

    fn of(&self, role: Role) -> Option<&Origin> {
        let mut origins = self.origins.iter();
        let (_, origin) = origins.find(|(own, _)| *own == role)?;
        Some(origin)
    }

    /// Values of the role in a batch of `rows` rows. `column` gives those of the column at a
    /// position. A role that nothing gives has the numbers from `order` on.
    pub(crate) fn values<'a, I: Iterator<Item = Value<'a>>>(
        &'a self,
        role: Role,
        rows: usize,
        order: usize,
        column: impl FnOnce(usize) -> Result<I>,
    ) -> Result<RoleValues<'a, I>> {
        Ok(match self.of(role) {
            Some(Origin::Column(position)) => RoleValues::Column(column(*position)?),
            Some(Origin::Constant { value, .. }) => {
                let value = value.as_deref().map_or(Value::Missing, Value::Text);
                RoleValues::Constant(repeat_n(value, rows))
            }
            None => RoleValues::Order(order as i64..(order + rows) as i64),
        })
    }

    /// Error of a value that all rows share, if the role has one.
    pub(crate) fn constant_fault(&self, role: Role, expected: &str) -> Option<Error> {
        let Some(Origin::Constant { name, value }) = self.of(role) else {
            return None;
        };
        let value = value.as_deref().unwrap_or_default();
        let why = format!("all its rows have {name}={value}; expected {expected}");
        Some(Error::file(&self.path, why))
    }
}

impl<'a, I: Iterator<Item = Value<'a>>> Iterator for RoleValues<'a, I> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        match self {
            RoleValues::Column(values) => values.next(),
            RoleValues::Constant(values) => values.next(),
            RoleValues::Order(numbers) => numbers.next().map(Value::Whole),
        }
    }
}
