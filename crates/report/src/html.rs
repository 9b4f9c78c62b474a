//! Pieces of HTML. Text becomes HTML here and nowhere else, so that nothing a log says can become a tag.

/// Text as HTML, for elements and for quoted attributes.
pub fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

/// Text in which `code` stands between backticks, as HTML.
pub fn prose(text: &str) -> String {
    let pieces = text.split('`').enumerate();
    let piece = |(i, piece): (usize, &str)| {
        if i % 2 == 1 {
            format!("<code>{}</code>", escape(piece))
        } else {
            escape(piece)
        }
    };
    pieces.map(piece).collect()
}

/// A list of sentences.
pub fn list(items: impl IntoIterator<Item = String>) -> String {
    let items: String = items
        .into_iter()
        .map(|item| format!("<li>{}</li>", prose(&item)))
        .collect();
    format!("<ul>{items}</ul>\n")
}

/// A part that is folded until somebody wants it.
pub fn folded(summary: &str, inside: &str) -> String {
    format!(
        "<details><summary>{}</summary>\n{inside}</details>\n",
        escape(summary)
    )
}

/// A table that scrolls inside its own box, never the page; `name` is read out for it. The header's cells and the rows are
/// HTML.
pub fn table(name: &str, header: &[String], rows: &str) -> String {
    let header: String = header
        .iter()
        .map(|cell| format!("<th scope=\"col\">{cell}</th>"))
        .collect();
    let name = escape(name);
    format!(
        "<div class=\"scroll\" role=\"region\" aria-label=\"{name}\" tabindex=\"0\"><table>\
         <thead><tr>{header}</tr></thead>\n<tbody>{rows}</tbody></table></div>\n"
    )
}

/// A number with spaces between its thousands, which do not break.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_a_tag() {
        assert_eq!(
            escape("<a href='x'>\"&\""),
            "&lt;a href=&#39;x&#39;&gt;&quot;&amp;&quot;"
        );
        assert_eq!(
            prose("run `prl <x>` & see"),
            "run <code>prl &lt;x&gt;</code> &amp; see"
        );
        assert_eq!(list(["<b>".to_owned()]), "<ul><li>&lt;b&gt;</li></ul>\n");
        assert!(
            folded("<i>", "").contains("&lt;i&gt;")
                && table("\"t", &[], "").contains("aria-label=\"&quot;t\"")
        );
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(
            ["1", "999", "1\u{202f}000", "1\u{202f}176\u{202f}680"],
            [1, 999, 1000, 1_176_680]
                .map(thousands)
                .each_ref()
                .map(String::as_str)
        );
    }
}
