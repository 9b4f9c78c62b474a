//! Damage in a Parquet file. Alone in its file, for it silences the messages of panics.

#[path = "it/common.rs"]
mod common;

use common::*;
use polars::prelude::*;

/// Polars panics on some damaged files. One cut short anywhere, as an interrupted download leaves
/// it, or with a block of zeros, as a lost disk page leaves it, must end in an error or in a
/// dataset.
#[test]
fn no_damage_ends_the_program() {
    let folder = Folder::new();
    let column = |name: &str| Column::new(name.into(), [3_i64, 1, 2, 1]);
    let text = Column::new("e".into(), ["view", "buy", "view", "view"]);
    let mut frame = DataFrame::new(4, vec![column("s"), column("t"), column("i"), text]).unwrap();
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes)
        .with_row_group_size(Some(3))
        .finish(&mut frame)
        .unwrap();
    std::panic::set_hook(Box::new(|_| {}));
    for at in (0..bytes.len()).step_by(3) {
        let mut holed = bytes.clone();
        holed[at..].iter_mut().take(16).for_each(|b| *b = 0);
        for damaged in [&bytes[..at], &holed] {
            let input = folder.write("damaged.parquet", damaged);
            let mut options = parquet(input, table_with_events());
            options.output.replace = true;
            if let Err(error) = prl_data::prepare(&options, &folder.path("out")) {
                assert!(error.is_bad_input(), "byte {at}: {error}");
            }
        }
    }
    let _ = std::panic::take_hook();
}
