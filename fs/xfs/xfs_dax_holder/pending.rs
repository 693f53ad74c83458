// SPDX-License-Identifier: GPL-2.0

//! Ranges that wait to be worked on.
//!
//! Needs nothing of the kernel: the property tests compile this file as it is.

use super::units::DeviceBytes;

/// Bytes of a device `K` that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pending<K> {
    pub(crate) device: K,
    pub(crate) bytes: DeviceBytes,
    /// How often it was tried in vain.
    pub(crate) tries: u32,
}

impl<K> Pending<K> {
    /// Not tried so far.
    pub(crate) fn new(device: K, bytes: DeviceBytes) -> Self {
        Self {
            device,
            bytes,
            tries: 0,
        }
    }
}

/// Joins `new` with one of `waiting` that covers it, or that it touches and that was tried as
/// often; false if there is none. So nothing waits twice, nor page by page.
pub(crate) fn merge<K: PartialEq>(waiting: &mut [Pending<K>], new: &Pending<K>) -> bool {
    let (start, end) = (new.bytes.start, new.bytes.end);
    let joins = |old: &&mut Pending<K>| {
        let covers = old.bytes.start <= start && end <= old.bytes.end;
        let touches = old.bytes.start <= end && start <= old.bytes.end;

        old.device == new.device && (covers || (touches && old.tries == new.tries))
    };
    let Some(old) = waiting.iter_mut().find(joins) else {
        return false;
    };

    old.bytes.start = old.bytes.start.min(start);
    old.bytes.end = old.bytes.end.max(end);
    true
}
