// SPDX-License-Identifier: GPL-2.0

//! The operations, and their form in a list: one a line, a word and numbers.

use std::fmt;

use anyhow::{Context, Result};

use crate::spell::{places, steps, Field};

places! {
    /// Bytes of a file. A slot is a place for one, which has a name, or only a descriptor.
    Part { slot, at, len }
    /// What a mapper, which is a process, maps.
    AreaId { mapper, area }
    /// A page of that.
    Spot { mapper, area, page }
    /// A new one, of some pages of a file.
    Mapping { mapper, area, slot, first, pages, kind }
}

impl AreaId {
    pub fn page(self, page: u64) -> Spot {
        let Self { mapper, area } = self;
        Spot { mapper, area, page }
    }
}

impl Spot {
    pub fn area(self) -> AreaId {
        let Self { mapper, area, .. } = self;
        AreaId { mapper, area }
    }
}

/// As a mapper is told, which knows its own number.
impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.area, self.page)
    }
}

// `size` is in bytes; `salt` chooses one of several blocks.
steps! {
    /// An operation. What it needs may be missing, when others were taken out of the
    /// list: then it does nothing.
    Op by Group

    Names {
        Create "create" (slot: u64);
        /// A file without a name.
        Tmpfile "tmpfile" (slot: u64);
        Link "link" (slot: u64);
        Rename "rename" (slot: u64, to: u64);
        Unlink "unlink" (slot: u64);
    }
    Data {
        Write "write" (part: Part, tag: u64);
        /// write(2) of a buffer of which only the first bytes can be read.
        Short "short-write" (part: Part, good: u64, byte: u64);
        /// O_DIRECT.
        Direct "direct" (part: Part, tag: u64);
        Read "read" (part: Part);
        Truncate "truncate" (slot: u64, size: u64);
        Reserve "reserve" (part: Part);
        Punch "punch" (part: Part);
        Zero "zero" (part: Part);
        Insert "insert" (part: Part);
        Collapse "collapse" (part: Part);
        Unshare "unshare" (part: Part);
        Clone "clone" (slot: u64, to: u64);
        CloneRange "clone-range" (part: Part, to: u64, to_at: u64);
        Dedupe "dedupe" (part: Part, to: u64);
        Exchange "exchange" (part: Part, to: u64, to_at: u64);
        Fsync "fsync" (slot: u64);
    }
    Process {
        Start "start" (mapper: u64, early: u64);
        Fork "fork" (mapper: u64, to: u64);
        Exit "exit" (mapper: u64);
        Map "map" (new: Mapping);
    }
    Memory {
        Unmap "unmap" (area: AreaId);
        Load "load" (spot: Spot, pages: u64);
        Store "store" (spot: Spot, offset: u64, byte: u64);
        Protect "protect" (area: AreaId, writable: u64);
        Move "move" (area: AreaId);
        Forget "forget" (spot: Spot, pages: u64);
        Populate "populate" (spot: Spot, pages: u64);
        Msync "msync" (area: AreaId);
    }
    Transfer {
        /// write(2) of a mapped page to a page of a file.
        Send "send" (spot: Spot, slot: u64, to: u64);
        /// read(2) of a page of a file into a mapped page.
        Receive "receive" (spot: Spot, slot: u64, from: u64);
        /// process_vm_readv() of a mapped page.
        Peek "peek" (spot: Spot);
    }
    Touch {
        /// PTRACE_PEEKDATA of a mapped page, and PTRACE_POKEDATA.
        Poke "ptrace" (spot: Spot, word: u64);
        Lock "mlock" (spot: Spot, pages: u64);
        /// The mapper runs its program anew.
        Exec "exec" (mapper: u64);
        /// A machine check on a mapped page that a pipe holds.
        Pipe "mce-vmsplice" (spot: Spot);
    }
    Race {
        /// Stores to pages, over and over, while these are shared and fail.
        Race "race" (spot: Spot, pages: u64, byte: u64, real: u64);
    }
    Poison {
        /// A machine check on a page of a file.
        Check "mce" (slot: u64, page: u64);
        /// A scrub finds a page of a file, where the firmware can tell.
        Found "scrub" (slot: u64, page: u64);
        /// One sector of it, or, without `saturate`, as little as can be cleared at once.
        Sector "scrub-sector" (slot: u64, page: u64, sector: u64, saturate: u64);
        /// hwpoison-inject on a page of a file.
        Inject "inject" (slot: u64, page: u64);
        /// MADV_HWPOISON on a mapped page.
        Advise "hwpoison" (spot: Spot);
        /// A machine check on a mapped page.
        CheckMapped "mce-mapped" (spot: Spot);
        /// One that the mapper consumes.
        Consume "mce-consumed" (spot: Spot);
    }
    PoisonFree {
        /// A machine check on free space.
        CheckFree "mce-free" (salt: u64);
        InjectFree "inject-free" (salt: u64);
        FoundFree "scrub-free" (salt: u64);
        /// On blocks that are reserved for copies.
        CheckStaging "mce-staging" (salt: u64);
        InjectStaging "inject-staging" (salt: u64);
    }
    Metadata {
        /// In metadata, or in the log; then all is unmounted and mounted.
        CheckMetadata "mce-metadata" (salt: u64);
        InjectMetadata "inject-metadata" (salt: u64);
        FoundMetadata "scrub-metadata" (salt: u64);
    }
    Device {
        /// Swapping to the file, which is refused.
        SwapOn "swapon" (slot: u64);
        /// growfs by so many megabytes.
        Grow "grow" (mib: u64);
        /// The driver goes away and comes back; `dead`: when the filesystem was shut down before.
        Rebind "rebind" (dead: u64);
        /// umount -l, and a machine check on a page that is still mapped.
        Detach "lazy-umount" (spot: Spot);
        /// Zeroes to the block device, where a file has lost a page.
        Clear "clear-errors" (slot: u64, page: u64);
        /// The firmware refuses to clear a machine check on a page of a file, for a while.
        Refuse "refuse" (slot: u64, page: u64);
        RefuseFree "refuse-free" (salt: u64);
        /// From now on the firmware takes so long to clear an error.
        Slow "slow-clear" (milliseconds: u64);
    }
    Administer {
        /// Unmount and mount.
        Remount "remount";
        /// Shut down; a machine check on a page of a file; unmount and mount.
        ShutDown "shut-down" (slot: u64, page: u64);
        /// A machine check on a page of a file while the filesystem is frozen.
        Frozen "mce-frozen" (slot: u64, page: u64);
        /// A machine check on free space while it is mounted read-only.
        ReadOnly "mce-read-only" (salt: u64);
    }
    Whole {
        Sync "sync";
        /// Compares everything.
        Compare "compare";
    }
}

impl Op {
    /// The file that it is about.
    pub fn slot(self) -> Option<u64> {
        self.number("slot")
    }

    /// What it is about that a mapper has mapped.
    pub fn area(self) -> Option<AreaId> {
        let (mapper, area) = self.number("mapper").zip(self.number("area"))?;
        Some(AreaId { mapper, area })
    }

    /// Whether it is about blocks that no file has.
    pub fn hits_nobody(self) -> bool {
        matches!(self.group(), Group::PoisonFree | Group::Metadata)
            || matches!(self, Self::Refuse(..) | Self::RefuseFree(_))
    }

    /// Whether it may end in one way or another: then it is worth to be tried again.
    pub fn is_racy(self) -> bool {
        matches!(self.group(), Group::Race)
            || matches!(
                self,
                Self::Consume(_) | Self::CheckFree(_) | Self::InjectFree(_)
            )
    }
}

/// Reads a list, in which other lines may stand.
pub fn parse_list(text: &str) -> Result<Vec<Op>> {
    let is_op = |line: &&str| !line.is_empty() && !line.starts_with('#');
    text.lines()
        .map(str::trim)
        .filter(is_op)
        .map(str::parse)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read() {
        let ops = parse_list("# seed 1\n\nwrite slot=1 at=4096 len=10 tag=7\nsync\n").unwrap();
        let (slot, at, len) = (1, 4096, 10);
        let write = Op::Write(Part { slot, at, len }, 7);
        assert_eq!(ops, [write, Op::Sync]);
        assert_eq!(write.to_string(), "write slot=1 at=4096 len=10 tag=7");
        for bad in [
            "write slot=1",
            "sync slot=1",
            "write slot=1 len=4 at=1 tag=1",
            "what",
        ] {
            assert!(parse_list(bad).is_err(), "{bad}");
        }
    }
}
