//! Markdown tables.

use std::fmt::Write as _;

/// A Markdown table; columns from `left` on are numbers, set to the right.
pub fn markdown_table(header: &[&str], left: usize, rows: &[Vec<String>]) -> String {
    let mut text = format!("| {} |\n|", header.join(" | "));
    (0..header.len()).for_each(|i| text.push_str(if i < left { "---|" } else { "---:|" }));
    text.push('\n');
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_in_a_cell_stays_in_its_cell() {
        let table = markdown_table(&["a", "b"], 1, &[vec!["x|y".into(), "1".into()]]);
        assert_eq!(table, "| a | b |\n|---|---:|\n| x\\|y | 1 |\n");
    }
}
