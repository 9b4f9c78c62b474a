//! Flags of `prl serve` for the properties of items.

/// Properties of items.
#[derive(clap::Args)]
pub struct ItemArgs {
    /// Column of availability: an item whose value there is false, or 0, is not recommended, unless
    /// a request has a condition on that column in `where`. `PATCH /v1/items/ID` with false takes
    /// an item out of all answers at once
    #[arg(long, value_name = "COLUMN", default_value = "available")]
    pub available_column: String,
}
