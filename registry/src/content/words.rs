//! The words for what a type decides, as a catalogue file has them: read from there, and shown in the same way everywhere.

use vermilion_proto::{FieldClass, IdentifierClass, PublicStatus, Sharing};

/// An enumeration that has words in a catalogue file.
pub trait Word: Copy + PartialEq + 'static {
    /// Each word and what it stands for.
    const WORDS: &'static [(&'static str, Self)];

    /// What a word stands for.
    #[must_use]
    fn of_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, of)| *of)
    }

    /// Its word; of what no catalogue file says, `unspecified`.
    #[must_use]
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, of)| *of == self).map_or("unspecified", |(word, _)| word)
    }
}

impl Word for FieldClass {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("public", Self::Public),
        ("government", Self::Government),
        ("commercial", Self::Commercial),
        ("personal", Self::Personal),
        ("sensitive", Self::Sensitive),
    ];
}

impl Word for IdentifierClass {
    const WORDS: &'static [(&'static str, Self)] = &[("public", Self::Public), ("personal", Self::Personal)];
}

impl Word for PublicStatus {
    const WORDS: &'static [(&'static str, Self)] = &[("closed", Self::Closed), ("challenge", Self::Challenge), ("open", Self::Open)];
}

impl Word for Sharing {
    const WORDS: &'static [(&'static str, Self)] =
        &[("unconditional", Self::Unconditional), ("conditional", Self::Conditional), ("none", Self::None)];
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value that the messages have, by its number: as many words, or one fewer where 0 is none.
    fn all<T: Word + TryFrom<i32> + std::fmt::Debug>() {
        let values: Vec<T> = (0..16).filter_map(|n| T::try_from(n).ok()).filter(|of| of.word() != "unspecified").collect();
        assert_eq!(values.len(), T::WORDS.len());
        assert!((i32::try_from(values.len()).unwrap_or_default() + 1..16).all(|n| T::try_from(n).is_err()), "a value has no word");
        assert!(values.iter().all(|of| T::of_word(of.word()) == Some(*of)) && T::of_word("unspecified").is_none());
    }

    #[test]
    fn every_value_has_one_word() {
        all::<FieldClass>();
        all::<IdentifierClass>();
        all::<PublicStatus>();
        all::<Sharing>();
    }
}
