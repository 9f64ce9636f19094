//! What a prompt that matches a phrase rule is after: classes of rules as ranges of the bits of `Shape::phrases`.

/// A class of phrase rules. Its range of bits is on disk: ranges never move, and a rule's bit is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PhraseClass {
    /// Finds out whether a key works.
    KeyCheck,
    /// Finds out which model answers.
    Identity,
    /// Tries to replace or read the instructions of an application.
    Override,
    /// Tries to talk a model out of its limits.
    Jailbreak,
    /// Comes from a front end that keys are resold through: role play, shared chats.
    Resale,
}

impl PhraseClass {
    /// All classes.
    pub const ALL: [Self; 5] =
        [Self::KeyCheck, Self::Identity, Self::Override, Self::Jailbreak, Self::Resale];

    /// The bits of its rules.
    pub const fn bits(self) -> u32 {
        match self {
            Self::KeyCheck => 0xff,
            Self::Identity => 0x1f << 8,
            Self::Override => 0x3f << 13,
            Self::Jailbreak => 0x3f << 19,
            Self::Resale => 0x7f << 25,
        }
    }

    /// The classes that matched rules belong to.
    pub fn of(bits: u32) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |class| class.bits() & bits != 0)
    }

    /// The word used in data.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeyCheck => "key_check",
            Self::Identity => "identity",
            Self::Override => "override",
            Self::Jailbreak => "jailbreak",
            Self::Resale => "resale",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_has_one_class() {
        assert_eq!(PhraseClass::ALL.iter().fold(0, |bits, class| bits | class.bits()), u32::MAX);
        assert_eq!(PhraseClass::ALL.iter().map(|class| class.bits().count_ones()).sum::<u32>(), 32);
        assert_eq!(
            PhraseClass::of(1 | 1 << 30).collect::<Vec<_>>(),
            [PhraseClass::KeyCheck, PhraseClass::Resale]
        );
    }
}
