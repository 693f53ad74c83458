// SPDX-License-Identifier: GPL-2.0

//! The list of targets, which grows while owners are looked at, if there is memory.
//!
//! Needs nothing of the kernel: the property tests compile this file as it is.

use super::targets::{
    settle,
    Space,
    Target, //
};

/// Targets for which there is room before a page is looked at, if there is memory.
pub(crate) const ROOM: usize = 64;

/// Where targets are kept: a vector that allocates only in `reserve()`.
pub(crate) trait Store {
    /// The address space of a target.
    type Mm: Space;

    /// All targets.
    fn targets(&mut self) -> &mut [Target<Self::Mm>];

    /// How many more there is room for.
    fn room(&self) -> usize;

    /// Makes room for `more` targets, if there is memory.
    fn reserve(&mut self, more: usize);

    /// Adds a target, or returns it if there is no room.
    fn push(&mut self, target: Target<Self::Mm>) -> Result<(), Target<Self::Mm>>;

    /// Drops all targets but the first `len`.
    fn truncate(&mut self, len: usize);
}

/// Signals targets, which are settled, at once.
pub(crate) type Tell<'a, M> = &'a mut dyn FnMut(&[Target<M>]);

/// The places where one page is mapped, while they are looked at with the page locked.
pub(crate) struct Places<'a, S: Store> {
    store: &'a mut S,
    tell: Option<Tell<'a, S::Mm>>,
    count: usize,
    missing: bool,
}

impl<'a, S: Store> Places<'a, S> {
    fn new(store: &'a mut S, tell: Option<Tell<'a, S::Mm>>) -> Self {
        Self {
            store,
            tell,
            count: 0,
            missing: false,
        }
    }

    /// Adds a place. Allocates nothing.
    pub(crate) fn add(&mut self, target: Target<S::Mm>) {
        self.count += 1;

        let Err(target) = self.store.push(target) else {
            return;
        };
        let Some(tell) = &mut self.tell else {
            self.missing = true;
            return;
        };
        fold(self.store);
        if self.store.room() == 0 {
            tell(self.store.targets());
            self.store.truncate(0);
        }
        if let Err(target) = self.store.push(target) {
            tell(&[target]);
        }
    }

    /// Whether all places have been noted, or told: then the page may be taken away. If not, they
    /// are looked at once more.
    pub(crate) fn are_complete(&self) -> bool {
        !self.missing
    }
}

/// Keeps one target for each address space.
fn fold<S: Store>(store: &mut S) {
    let kept = settle(store.targets());

    store.truncate(kept);
}

/// Makes room for `more` targets, if there is memory. A list that has to grow gets twice as long,
/// so that this is rare.
fn make_room<S: Store>(store: &mut S, more: usize) {
    if store.room() >= more {
        return;
    }
    fold(store);
    if store.room() < more {
        let len = store.targets().len();

        store.reserve(len.max(more));
    }
}

/// The targets in `store`, settled.
pub(crate) fn settled<S: Store>(store: &mut S) -> &[Target<S::Mm>] {
    fold(store);
    store.targets()
}

/// Adds the places where one page is mapped.
///
/// `look` locks the page, adds all places, and takes the page away if they are complete. It is
/// called once; if there is less room than places, a second time with room for as many as there
/// were. If more have come, or there is no memory, targets are told while the page is locked, and
/// forgotten: this needs nothing that is not at hand.
pub(crate) fn add_page<S: Store, E>(
    store: &mut S,
    tell: Tell<'_, S::Mm>,
    mut look: impl FnMut(&mut Places<'_, S>) -> Result<(), E>,
) -> Result<(), E> {
    make_room(store, ROOM);

    let len = store.targets().len();
    let mut places = Places::new(store, None);
    look(&mut places)?;
    if places.are_complete() {
        return Ok(());
    }

    let count = places.count;
    store.truncate(len);
    make_room(store, count);
    look(&mut Places::new(store, Some(tell)))
}
