//! Text that people read: names, and what else stands on a receipt.

/// Whether a character shows nothing by itself and changes what is read around it: marks that turn the
/// direction of writing, characters without width, separators of lines. With them one name looks like
/// another, or like no name at all.
///
/// The list stands here and follows no later Unicode: apply asks too. Variation selectors and the joiners
/// of Mongolian are not on it: names are written with them.
#[must_use]
pub fn deceives(c: char) -> bool {
    matches!(
        c,
        // Soft hyphen, Arabic letter mark, zero-width space and joiners, marks of direction.
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}'
        // Separators of lines and paragraphs, embeddings and overrides of direction.
        | '\u{2028}'..='\u{202e}'
        // Word joiner, invisible operators, isolates of direction, deprecated controls.
        | '\u{2060}'..='\u{206f}'
        // Zero-width no-break space (the byte order mark), anchors of annotations, tags.
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

/// Whether a text has a character that has no place in a name: a control, or one that [`deceives`].
#[must_use]
pub fn is_unclear(text: &str) -> bool {
    text.chars().any(|c| c.is_control() || deceives(c))
}

/// Whether a text has the form of a field's name: 1 to 64 letters and digits of ASCII, `_`, `-` and `.`.
#[must_use]
pub fn is_field_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_or_hides_is_told_from_what_is_written() {
        for c in ["\u{202a}", "\u{202e}", "\u{2066}", "\u{2069}", "\u{200e}", "\u{200f}", "\u{61c}", "\u{200b}", "\u{200d}"] {
            assert!(is_unclear(&format!("结婚{c}证")), "{}", c.escape_unicode());
        }
        for c in ["\u{feff}", "\u{2060}", "\u{ad}", "\u{2028}", "\u{e0041}", "\n", "\0", "\u{85}"] {
            assert!(is_unclear(&format!("结婚{c}证")), "{}", c.escape_unicode());
        }
        let written = ["样例区卫生健康局(南山)", "阿依古丽·买买提", "O’Neill-Šmíd", "葛\u{e0100}城", "ᠮᠣᠩᠭᠣᠯ\u{180e}ᠠ", "A　B", "محمد"];
        assert!(written.iter().all(|name| !is_unclear(name)));
    }
}
