//! Rows that hold lists, made into one row per element.

/// Events of a batch of rows. A row of lists holds as many events as its lists have elements; a
/// value that is no list belongs to all of them. Without lists, a row is an event.
#[derive(Clone, Debug)]
pub(crate) struct Explosion {
    rows: usize,
    /// Number of elements of each row, and the name of the first column of lists.
    lists: Option<(String, Vec<usize>)>,
}

/// Row whose lists differ in length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Uneven {
    /// Row of the batch.
    pub row: usize,
    /// Number of elements of the later column.
    pub found: String,
    /// Number of elements of the first column, with its name.
    pub expected: String,
}

impl Explosion {
    /// Events of `rows` rows without lists.
    pub(crate) fn new(rows: usize) -> Self {
        Self { rows, lists: None }
    }

    /// Adds a column of lists of these lengths.
    pub(crate) fn add(&mut self, name: &str, lengths: Vec<usize>) -> Result<(), Uneven> {
        let Some((first, others)) = &self.lists else {
            self.lists = Some((name.to_owned(), lengths));
            return Ok(());
        };
        for (row, (&length, &other)) in lengths.iter().zip(others).enumerate() {
            if length != other {
                return Err(Uneven {
                    row,
                    found: format!("a list of {length}"),
                    expected: format!("a list of {other}, as in column {first:?}"),
                });
            }
        }
        Ok(())
    }

    /// Row of each event; `None` without lists.
    pub(crate) fn rows_of_events(&self) -> Option<Vec<u32>> {
        let (_, lengths) = self.lists.as_ref()?;
        let mut rows = Vec::with_capacity(lengths.iter().sum());
        for (row, &length) in lengths.iter().enumerate() {
            rows.resize(rows.len() + length, row as u32);
        }
        Some(rows)
    }

    /// Number of events.
    pub(crate) fn events(&self) -> usize {
        match &self.lists {
            Some((_, lengths)) => lengths.iter().sum(),
            None => self.rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_lists_hold_as_many_events_as_elements() {
        let mut explosion = Explosion::new(3);
        assert_eq!((explosion.events(), explosion.rows_of_events()), (3, None));
        explosion.add("items", vec![2, 0, 1]).unwrap();
        explosion.add("times", vec![2, 0, 1]).unwrap();
        assert_eq!(explosion.events(), 3);
        assert_eq!(explosion.rows_of_events(), Some(vec![0, 0, 2]));
        let uneven = explosion.add("kinds", vec![2, 1, 1]).unwrap_err();
        assert_eq!(uneven.row, 1);
        assert_eq!(uneven.expected, "a list of 0, as in column \"items\"");
    }
}
