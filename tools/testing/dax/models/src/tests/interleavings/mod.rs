// SPDX-License-Identifier: GPL-2.0

//! Protocols of the kernel, every interleaving of which is tried.
//!
//! The kernel's code for these is not compiled here: a model repeats it step by step, and each step
//! names the function that it stands for. A step is what no other task can see half done. Between
//! two steps any time may pass. Memory is in one order for all tasks, as locks and barriers have
//! it in the kernel.
//!
//! Orders that are known to be wrong are checked beside ours, and so is ours with one guard taken
//! out. That nothing is found in ours means something because something is found in these.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::hash::{BuildHasherDefault, Hash, Hasher};

mod direct_map;
mod holder;

/// Tasks, each of which does one step after the other.
trait Model {
    type State: Copy + Eq + Hash + 'static;
    type Step: Copy + Debug + Ord + 'static;

    fn starts(&self) -> Vec<Self::State>;

    /// The steps of all tasks.
    fn steps(&self) -> &'static [Self::Step];

    /// What a step leads to, if it can be taken now.
    fn step(&self, state: &Self::State, step: Self::Step) -> Option<Self::State>;

    /// All that was begun has ended.
    fn is_done(&self, state: &Self::State) -> bool;

    /// What must hold in each state.
    fn laws(&self) -> &'static [Claim<Self::State>];

    /// What must be seen in some state, or the model shows less than it seems to.
    fn sights(&self) -> &'static [Claim<Self::State>];
}

type Claim<S> = (&'static str, fn(&S) -> bool);

/// A law of all models.
const ENDS: &str = "all that begins ends";

/// A state, and the one before it with the step that led here.
type Reached<State, Step> = (State, Option<(u32, Step)>);

/// What became of a model.
struct Explored<S> {
    states: usize,
    taken: BTreeSet<S>,
    seen: BTreeSet<&'static str>,
    /// The laws that were broken, each with the fewest steps that lead to it.
    broken: HashMap<&'static str, Vec<S>>,
}

/// Tries all interleavings, the shortest first; no more once this law is broken.
fn explore_until<M: Model>(model: &M, broken: Option<&str>) -> Explored<M::Step> {
    let mut ids: HashMap<M::State, u32, BuildHasherDefault<Fast>> = HashMap::default();
    let mut states: Vec<Reached<M::State, M::Step>> = Vec::new();
    let mut found = Explored {
        states: 0,
        taken: BTreeSet::new(),
        seen: BTreeSet::new(),
        broken: HashMap::new(),
    };
    let mut add = |states: &mut Vec<_>, state, from| {
        if let Entry::Vacant(entry) = ids.entry(state) {
            entry.insert(states.len() as u32);
            states.push((state, from));
        }
    };

    for start in model.starts() {
        add(&mut states, start, None);
    }
    while let Some(&(state, _)) = states.get(found.states) {
        let id = found.states as u32;
        let mut goes_on = model.is_done(&state);

        for &step in model.steps() {
            if let Some(next) = model.step(&state, step) {
                found.taken.insert(step);
                goes_on |= next != state;
                add(&mut states, next, Some((id, step)));
            }
        }
        let laws = model.laws().iter();
        let wrong = laws
            .filter(|(_, holds)| !holds(&state))
            .map(|(law, _)| *law);
        for law in wrong.chain((!goes_on).then_some(ENDS)) {
            let path = found.broken.entry(law);
            path.or_insert_with(|| path_to(&states, id));
        }
        let sights = model.sights().iter().filter(|(_, is)| is(&state));
        found.seen.extend(sights.map(|(sight, _)| sight));
        found.states += 1;
        if broken.is_some_and(|law| found.broken.contains_key(law)) {
            break;
        }
    }
    found
}

/// The steps that lead to a state.
fn path_to<State, Step: Copy>(states: &[Reached<State, Step>], id: u32) -> Vec<Step> {
    let mut path = Vec::new();
    let mut from = states[id as usize].1;

    while let Some((id, step)) = from {
        path.push(step);
        from = states[id as usize].1;
    }
    path.reverse();
    path
}

/// Sees all states of a model that breaks no law.
#[track_caller]
fn explore<M: Model>(model: &M) -> Explored<M::Step> {
    let found = explore_until(model, None);

    if let Some((law, path)) = found.broken.iter().next() {
        panic!("broken: {law}: {path:#?}");
    }
    found
}

/// Looks for the fewest steps that break a law.
#[track_caller]
fn counterexample<M: Model>(model: &M, law: &str) -> Vec<M::Step> {
    let mut found = explore_until(model, Some(law));
    let path = found.broken.remove(law);

    path.unwrap_or_else(|| panic!("not broken in {} states: {law}", found.states))
}

/// All that can be done was done, but for this, and all that was to be seen was seen.
#[track_caller]
fn is_thorough<M: Model, What: Ord + Debug>(
    model: &M,
    what: impl Fn(M::Step) -> What,
    never: impl IntoIterator<Item = What>,
    at_least: usize,
) {
    let found = explore(model);
    let done: BTreeSet<_> = found.taken.into_iter().map(&what).collect();
    let all: BTreeSet<_> = model.steps().iter().map(|step| what(*step)).collect();
    let never: BTreeSet<_> = never.into_iter().collect();

    assert!(all.difference(&done).eq(&never), "done: {done:?}");
    for (sight, _) in model.sights() {
        assert!(found.seen.contains(sight), "never seen: {sight}");
    }
    assert!(found.states > at_least, "{} states only", found.states);
}

/// A fast hash: the states are not chosen to collide.
#[derive(Default)]
struct Fast(u64);

impl Hasher for Fast {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u8(*byte);
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(n.into());
    }

    fn write_isize(&mut self, n: isize) {
        self.write_u64(n as u64);
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
