//! Markdown tables.

/// Formats a Markdown table. Columns from index `left` on are right-aligned numbers.
///
/// ```
/// let rows = [vec!["GRU".to_owned(), "0.25".to_owned()]];
/// let table = prl_report::markdown_table(&["encoder", "HR@5"], 1, &rows);
/// assert_eq!(table, "| encoder | HR@5 |\n|---|---:|\n| GRU | 0.25 |\n");
/// ```
pub fn markdown_table(header: &[&str], left: usize, rows: &[Vec<String>]) -> String {
    let mut text = format!("| {} |\n|", header.join(" | "));
    for i in 0..header.len() {
        text += if i < left { "---|" } else { "---:|" };
    }
    text.push('\n');
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        text += &format!("| {} |\n", cells.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bar_in_a_cell_is_escaped() {
        let table = markdown_table(&["a", "b"], 1, &[vec!["x|y".into(), "1".into()]]);
        assert_eq!(table, "| a | b |\n|---|---:|\n| x\\|y | 1 |\n");
    }
}
