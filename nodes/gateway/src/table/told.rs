//! Who was told of a connection: nearly always nobody, the backup, or the backup and where its answers land.

use scalebed_frame::{Incarnation, MemberId};

/// Somebody who was told of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) member: MemberId,
    pub(crate) life: Incarnation,
}

/// All who were told, in the order in which they were. Up to two take no memory of their own: every copy has such a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tellings {
    #[default]
    Nobody,
    One(Told),
    Two([Told; 2]),
    /// Three and more.
    Many(Vec<Told>),
}

impl Tellings {
    pub(crate) fn as_slice(&self) -> &[Told] {
        match self {
            Self::Nobody => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Two(two) => two,
            Self::Many(many) => many,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    pub(crate) fn contains(&self, told: &Told) -> bool {
        self.as_slice().contains(told)
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::Nobody;
    }

    pub(crate) fn push(&mut self, told: Told) {
        *self = match std::mem::take(self) {
            Self::Nobody => Self::One(told),
            Self::One(one) => Self::Two([one, told]),
            Self::Two([one, two]) => Self::Many(vec![one, two, told]),
            Self::Many(mut many) => {
                many.push(told);
                Self::Many(many)
            }
        };
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&Told) -> bool) {
        // A walk asks this of every connection after each change of the matrix, and nearly all stay as they are.
        if self.as_slice().iter().all(&keep) {
            return;
        }
        for told in std::mem::take(self).into_iter().filter(keep) {
            self.push(told);
        }
    }

    /// Bytes beside the value itself.
    pub(crate) fn heap(&self) -> usize {
        match self {
            Self::Many(many) => many.capacity() * size_of::<Told>(),
            Self::Nobody | Self::One(_) | Self::Two(_) => 0,
        }
    }
}

impl IntoIterator for Tellings {
    type Item = Told;
    type IntoIter = Iter;

    fn into_iter(self) -> Iter {
        Iter { told: self, next: 0 }
    }
}

/// See [`Tellings`].
#[derive(Debug)]
pub(crate) struct Iter {
    told: Tellings,
    next: usize,
}

impl Iterator for Iter {
    type Item = Told;

    fn next(&mut self) -> Option<Told> {
        let told = self.told.as_slice().get(self.next).copied();
        self.next += 1;
        told
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use scalebed_frame::{Incarnation, MemberId};

    use super::{Tellings, Told};

    proptest! {
        /// It is the list that a `Vec` would be, and one that shrank is as one that never grew.
        #[test]
        fn it_is_a_list(steps in prop::collection::vec((0u8..3, 1u8..6), 0..40)) {
            let (mut list, mut model) = (Tellings::default(), Vec::new());
            for (what, number) in steps {
                let told = Told { member: MemberId::new(1, number), life: Incarnation(u32::from(number)) };
                if what == 0 {
                    list.retain(|one| one.member != told.member);
                    model.retain(|one: &Told| one.member != told.member);
                } else {
                    list.push(told);
                    model.push(told);
                }
                prop_assert_eq!(list.as_slice(), &model[..]);
                prop_assert_eq!(list.clone().into_iter().collect::<Vec<_>>(), model.clone());
                prop_assert_eq!(list.contains(&told), model.contains(&told));
                // Once grown to three it keeps its room until something leaves.
                prop_assert_eq!(matches!(list, Tellings::Many(_)), model.len() > 2);
            }
        }
    }
}
