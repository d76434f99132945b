//! A list of the world that many share: a clone is a reference, and what is looked for by name or UUID is found without
//! a walk. Pure. Its index cannot be out of step: whoever changes a list has one of his own, and the index is made anew.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// What an element is looked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key<'a> {
    /// Its name.
    Name(&'a str),
    /// UUID of the bytes that it is about; of a node, of any host object that it lists.
    Bytes(&'a str),
    /// The volume's name on the wire.
    Handle(&'a str),
}

/// Elements that are looked for.
pub trait Keyed {
    /// Tells every key of the element; one told twice counts once.
    fn tell_keys(&self, tell: &mut dyn FnMut(Key<'_>));
}

/// A list.
pub struct Listed<T>(Arc<Inner<T>>);

struct Inner<T> {
    all: Vec<Arc<T>>,
    /// Hash of a key and the element's position, in order; made when it is first asked for.
    index: OnceLock<Vec<(u64, usize)>>,
}

impl<T: Keyed> Listed<T> {
    /// Every element that has this key, in the list's order. A few others may be among them: the caller compares.
    pub fn candidates<'a>(&'a self, key: Key<'_>) -> impl Iterator<Item = &'a Arc<T>> + use<'a, T> {
        let wanted = hash(key);
        let index = self.0.index.get_or_init(|| index(&self.0.all));
        let from = index.partition_point(|(hash, _)| *hash < wanted);
        let same = index[from..].iter().take_while(move |(hash, _)| *hash == wanted);
        same.map(|(_, at)| &self.0.all[*at])
    }
}

impl<T> Listed<T> {
    /// The list, to be changed by its only owner.
    pub fn edit(&mut self) -> &mut Vec<Arc<T>> {
        let inner = Arc::make_mut(&mut self.0);
        inner.index = OnceLock::new();
        &mut inner.all
    }

    /// Whether both are one list, not only equal ones.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

fn index<T: Keyed>(all: &[Arc<T>]) -> Vec<(u64, usize)> {
    let mut index = Vec::with_capacity(all.len());
    for (at, element) in all.iter().enumerate() {
        element.tell_keys(&mut |key| index.push((hash(key), at)));
    }
    index.sort_unstable();
    index.dedup();
    index
}

fn hash(key: Key<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

impl<T> Clone for Inner<T> {
    fn clone(&self) -> Self {
        Self { all: self.all.clone(), index: OnceLock::new() }
    }
}

impl<T> Clone for Listed<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self::from(Vec::<Arc<T>>::new())
    }
}

impl<T> Deref for Listed<T> {
    type Target = [Arc<T>];

    fn deref(&self) -> &[Arc<T>] {
        &self.0.all
    }
}

impl<T: PartialEq> PartialEq for Listed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.all == other.0.all
    }
}

impl<T: fmt::Debug> fmt::Debug for Listed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T> From<Vec<Arc<T>>> for Listed<T> {
    fn from(all: Vec<Arc<T>>) -> Self {
        Self(Arc::new(Inner { all, index: OnceLock::new() }))
    }
}

impl<T> FromIterator<Arc<T>> for Listed<T> {
    fn from_iter<I: IntoIterator<Item = Arc<T>>>(all: I) -> Self {
        Self::from(all.into_iter().collect::<Vec<_>>())
    }
}

impl<T> FromIterator<T> for Listed<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        all.into_iter().map(Arc::new).collect()
    }
}

impl<T> IntoIterator for Listed<T> {
    type Item = Arc<T>;
    type IntoIter = std::vec::IntoIter<Arc<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.all.clone().into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Listed<T> {
    type Item = &'a Arc<T>;
    type IntoIter = std::slice::Iter<'a, Arc<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, Key, Keyed, Listed};

    #[derive(Clone, Debug, PartialEq)]
    struct Thing(&'static str, &'static [&'static str]);

    impl Keyed for Thing {
        fn tell_keys(&self, tell: &mut dyn FnMut(Key<'_>)) {
            tell(Key::Name(self.0));
            self.1.iter().for_each(|uuid| tell(Key::Bytes(uuid)));
        }
    }

    fn found(list: &Listed<Thing>, key: Key<'_>) -> Vec<&'static str> {
        list.candidates(key).map(|thing| thing.0).collect()
    }

    #[test]
    fn what_has_the_key_is_found_in_the_lists_order_and_once() {
        let list: Listed<Thing> =
            [Thing("b", &["x", "x"]), Thing("a", &["x"]), Thing("x", &[])].into_iter().collect();
        assert_eq!(found(&list, Key::Bytes("x")), ["b", "a"]);
        assert_eq!(found(&list, Key::Name("x")), ["x"]);
        assert!(found(&list, Key::Handle("x")).is_empty());
    }

    #[test]
    fn a_changed_list_has_an_index_of_its_own() {
        let mut list: Listed<Thing> = [Thing("a", &[])].into_iter().collect();
        let before = list.clone();
        assert_eq!(found(&list, Key::Name("a")), ["a"]);
        list.edit().push(Arc::new(Thing("c", &[])));
        assert_eq!(found(&list, Key::Name("c")), ["c"]);
        assert!(found(&before, Key::Name("c")).is_empty());
        list.edit().remove(0);
        assert!(found(&list, Key::Name("a")).is_empty());
        assert!(before.is_same(&before.clone()) && !before.is_same(&list));
    }
}
