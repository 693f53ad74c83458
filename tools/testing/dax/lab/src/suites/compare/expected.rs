// SPDX-License-Identifier: GPL-2.0

//! How each scene fails on the stock kernel. What stock passes too is marked where the scene
//! is defined.

/// What is seen of a scene when it fails as it is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// This row of the table differs, and stock gets this there; where that varies, "".
    Row(&'static str, &'static str),
    /// The kernel dies, and its console has these words.
    Crash(&'static str),
    /// Tasks are stuck for good, and one of them is in this function.
    Hang(&'static str),
    /// The scene gives up with these words.
    Ends(&'static str),
}

use Way::{Crash, Ends, Hang, Row};

/// Where a page that left the direct map is written to by its address.
const STORE: &str = "__memcpy_flushcache";
/// Who waits for a group's header, which a notification holds (D1).
const GROUP: &str = "xfs_alloc_read_agf";

/// Scenes that may harm the kernel: a guest for each.
pub const ALONE: &[(&str, Way)] = &[
    ("unbind", Hang(GROUP)),
    ("cow-race", Hang(GROUP)),
    ("verify-deleted", Hang(GROUP)),
    ("peek", Hang(GROUP)),
    ("remapped", Hang(GROUP)),
    ("parked-writer", Row("page, meanwhile", "not mapped")),
    ("list-whole", Crash(STORE)),
    ("unmount-at-once", Row("lines in the log", "0")),
    ("short-write", Row("5000 of 8292 bytes at 0", "5000 bytes")),
    ("direct-map", Row("in a pipe", "taken out")),
    ("verify-exact", Row("media", "0+2048 bad")),
    ("machine-check", Row("b, touches it", "reads")),
    ("unmap-first", Crash("dax_disassociate_entry")),
    ("huge-alone", Crash("dax_disassociate_entry")),
    ("huge-share", Crash("dax_insert_entry")),
    ("huge-cow", Row("2M/2M, read: on it, then mapped", "")),
    ("wb-error", Row("msync, mapped after it", "0")),
    ("wb-error-no-rmapbt", Row("msync, mapped after it", "0")),
    ("wb-error-ext4", Row("msync, mapped after it", "0")),
    ("refuse-faults", Row("read fault", "reads")),
    ("refuse-cow", Row("b, read fault", "reads")),
    ("refuse-huge", Row("late, touches it", "reads")),
    ("refuse-dirty", Row("4 KiB, fsync", "0, 0")),
    ("refuse-calls", Row("pread", "EFAULT")),
    ("refuse-full", Row("one more, read fault", "reads")),
    ("refuse-sync", Row("writer", "waits; stored")),
    ("heal-ways", Ends("pwrite: not contained")),
    ("heal-shared", Row("a, touched", "reads")),
    ("heal-twice", Row("early kill, again", "no signal")),
    ("heal-sectors", Crash(STORE)),
    ("simulated", Row("marks", "HardwareCorrupted +4 kB")),
    ("heal-at-once", Row("written when told", "0 of 200 read")),
    ("free", Row("AG's start: block", "EIO")),
    ("free-huge", Row("2 MiB: blocks of zeros", "0")),
    ("freed", Row("unlink: block", "EIO")),
    ("freed-at-once", Crash(STORE)),
    ("unwritten", Row("machine check: block", "EIO")),
    ("unwritten-race", Crash(STORE)),
    ("unwritten-swap", Row("not in use: block", "other data")),
    ("staging", Row("first block", "Failed")),
    ("staging-write", Row("filled: block", "Failed")),
    ("absent", Row("a has lost", "nothing")),
    ("known", Row("free, listed", "EIO")),
    ("remount-rw", Row("rw: free block", "EIO")),
    ("grow-known", Row("block", "EIO")),
    ("meanwhile", Ends("written anew: Input/output error")),
    ("order", Row("free, and owned", "")),
    ("frozen-inode", Row("frozen: another file", "nothing")),
    ("old-reader", Row("marks", "HardwareCorrupted +4 kB")),
    ("free-realtime", Row("free: block", "EIO")),
    ("free-race", Crash(STORE)),
    ("refuse-race", Crash("BUG: unable to handle page fault")),
    ("dio-from", Crash(STORE)),
    ("dio-into", Crash("_copy_to_iter")),
    ("splice", Crash("copy_folio_from_iter_atomic")),
    ("core-dump", Row("another process", "reads")),
    ("parked", Row("pread", "0 of 20 EIO")),
    ("last-reference", Row("umount", "")),
    ("list-shown", Row("read", "other text")),
    ("list-poll", Row("machine check", "sleeps")),
    ("devdax", Crash(STORE)),
    ("fsdev", Row("HardwareCorrupted, in the end", "+4 kB")),
    ("partitions", Row("p2, ext4: touches it", "reads")),
    ("internal-realtime", Row("the file has lost", "nothing")),
    (
        "grow-realtime",
        Row("small: written", "Bad address (os error 14)"),
    ),
    ("cached", Crash(STORE)),
    ("shut-down", Row("shut down: a, touches it", "reads")),
    ("shut-down-huge", Row("2 MiB, touches it", "reads")),
    ("after-metadata", Row("then: a, touches it", "reads")),
    ("read-only", Row("ro: b, touches it", "reads")),
    ("frozen", Row("frozen: b, touches it", "reads")),
    ("shut-down-removed", Row("a, touches it", "reads")),
    ("flood", Row("signals", "none")),
    ("outlived", Row("as fsdax: HardwareCorrupted, kB", "4")),
    ("lock-shared", Ends("the mappers are not ready")),
    (
        "sync-cow",
        Row("shared, metadata clean", "stored, not synchronous"),
    ),
];

/// Scenes that leave the kernel as it was: one guest for all of them, and for those that stock
/// passes.
pub const TOGETHER: &[(&str, Way)] = &[
    ("dedupe-unwritten", Row("data: 41", "no")),
    ("unshare-behind", Row("the block is", "shared")),
    ("threads", Row("no main, early: other", "no signal")),
    ("shared-mm", Row("early, early: main", "no signal")),
    (
        "private",
        Row("private, has a copy", "BUS_MCEERR_AO page 1 lsb 12"),
    ),
    ("twice", Row("part of the file", "no signal")),
    ("crowd", Row("twice, sent", "2")),
    ("no-rmapbt", Row("marks", "HardwareCorrupted +4 kB")),
    ("evicted", Row("not mapped, early", "no signal")),
    ("late", Row("a, the page", "mapped")),
    ("filter", Row("consumer", "not mapped")),
    ("free-inject", Row("hwpoison-inject: block", "other data")),
    ("list-split", Row("pread", "EIO, EIO, EIO")),
    (
        "staging-inject",
        Row("inject, reserved block", "EFSCORRUPTED"),
    ),
    ("revoke-race", Row("mprotect: mapped after it", "")),
    ("generic-huge", Row("4 KiB alone", "no signal")),
    ("freed-busy", Ends("xfs_dax_repair/enable: No such file")),
];

/// Scenes of the platform with an NFIT. An error that one of them leaves would fail the next: a
/// guest for each.
pub const NFIT: &[(&str, Way)] = &[
    ("superblock", Row("marks", "HardwareCorrupted +4 kB")),
    ("refused", Row("lines in the log", "0")),
    ("freeze-fails", Row("free block: block", "EIO")),
    ("scrub-race", Row("all removed: marks", "bad sectors")),
    ("scrub-mapped", Row("b, touches it", "reads")),
    ("scrub-absent", Row("the file has lost", "nothing")),
    ("scrub-free", Row("injected: block", "EIO")),
    ("scrub-metadata", Row("sick", "none")),
    ("scrub-many", Row("mapper, touches one", "reads")),
    ("scrub-realtime", Row("free block", "EIO")),
    ("scrub-flood", Row("mapper, refused", "0")),
    ("found-metadata", Row("inodes: sick", "none")),
    ("found-headers", Row("AGF: sick", "none")),
    ("found-log", Row("log: told", "")),
    ("found-exact", Row("the file has lost", "nothing")),
    ("scrub-pages", Row("early kill", "no signal")),
    ("scrub-ras", Row("ras:memory_failure_event", "nothing")),
    ("scrub-kept", Crash(STORE)),
    (
        "scrub-no-mark",
        Row("overwritten: marks", "HardwareCorrupted +4 kB"),
    ),
];

pub fn of(scene: &str) -> Option<Way> {
    let mut all = [ALONE, TOGETHER, NFIT].into_iter().flatten();
    all.find(|(name, _)| *name == scene).map(|(_, way)| *way)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scene_is_there_once_and_with_a_way() {
        let all: Vec<_> = [ALONE, TOGETHER, NFIT].concat();
        for (n, (name, way)) in all.iter().enumerate() {
            assert!(
                all[n + 1..].iter().all(|(other, _)| other != name),
                "{name}"
            );
            let (Row(words, _) | Crash(words) | Hang(words) | Ends(words)) = way;
            assert!(!words.is_empty(), "{name}");
        }
    }
}
