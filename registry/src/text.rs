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

/// The longest name (of a licence and its type, a holder, a unit), in characters, whatever script it is in.
pub const MAX_NAME: usize = 100;
/// The longest name in English, of a department or a level, in characters.
pub(crate) const MAX_OTHER_NAME: usize = 200;

/// Whether a text can be a name: 1 to 100 characters, none of them a control or hidden, and not blanks alone.
#[must_use]
pub fn is_name(text: &str) -> bool {
    !is_blank(text) && is_at_most(text, MAX_NAME) && !is_unclear(text)
}

/// The same of a name that may be left out, of up to 200 characters.
pub(crate) fn is_other_name(text: &str) -> bool {
    is_at_most(text, MAX_OTHER_NAME) && !is_unclear(text)
}

/// Whether a text has at most so many characters. The bytes bound the walk.
pub(crate) fn is_at_most(text: &str, characters: usize) -> bool {
    text.len() <= characters * 4 && text.chars().count() <= characters
}

/// Whether a text has the form of a field's name: 1 to 64 letters and digits of ASCII, `_`, `-` and `.`.
#[must_use]
pub fn is_field_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// Whether a text shows nothing: it is empty, or of blanks alone. Nobody is called so.
///
/// The list stands here for the reason that stands above: it is what Unicode calls white space, the wide space of
/// Chinese type with it, and the few letters and marks that leave their place empty.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    text.chars().all(|c| {
        matches!(
            c,
            '\t'..='\r' | ' ' | '\u{85}' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
            // Fillers of Hangul, the empty cell of Braille.
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{2800}'
            // What is nothing without a letter before it: joiners of graphemes and of Mongolian, variation selectors.
            | '\u{34f}' | '\u{180b}'..='\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}'
        ) || deceives(c)
    })
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
    #[test]
    fn names_are_counted_in_characters() {
        for (name, good) in [("名".repeat(100), true), ("名".repeat(101), false), ("𠮷".repeat(100), true), ("n".repeat(101), false)] {
            assert_eq!(is_name(&name), good, "{name}");
        }
        assert!(!is_name("") && !is_name("名\n") && is_other_name("") && !is_other_name("\u{202e}"));
        assert!(is_other_name(&"n".repeat(200)) && !is_other_name(&"n".repeat(201)) && is_other_name(&"局".repeat(200)));
    }

    #[test]
    fn blanks_alone_are_no_name() {
        for blank in ["", " ", "\u{3000}", " \u{a0}\u{3000}", "\u{2003}", "\u{3164}", "\u{2800}", "\u{fe00}", "\u{200b}"] {
            assert!(is_blank(blank), "{}", blank.escape_unicode());
        }
        // Nothing that Rust calls white space is missing.
        assert!((0..=0x0010_ffff).filter_map(char::from_u32).filter(|c| c.is_whitespace()).all(|c| is_blank(&c.to_string())));
        for written in ["样例\u{3000}局", " a", "葛\u{e0100}城", "-", "ᠠ\u{180e}"] {
            assert!(!is_blank(written), "{}", written.escape_unicode());
        }
    }
}
