// SPDX-License-Identifier: GPL-2.0

//! The operations, and their form in a list: one a line, a word and numbers.

use std::fmt;
use std::str::FromStr;

use anyhow::{bail, ensure, Context, Error, Result};

/// Declares the operations with their words and the names of their numbers.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident $word:literal $({ $($field:ident),* })?;)*) => {
        /// An operation. What it needs may be missing, when others were taken out of the
        /// list: then it does nothing.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Op {
            $($(#[$doc])* $name $({ $($field: u64),* })?,)*
        }

        impl fmt::Display for Op {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name $({ $($field),* })? => {
                        f.write_str($word)?;
                        $($(write!(f, concat!(" ", stringify!($field), "={}"), $field)?;)*)?
                    })*
                }
                Ok(())
            }
        }

        impl FromStr for Op {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                let mut words = text.split_whitespace();
                let first = words.next().unwrap_or_default();
                let mut number = |name: &str| -> Result<u64> {
                    let word = words.next().with_context(|| format!("{text}: no {name}"))?;
                    let value = word.strip_prefix(name).and_then(|w| w.strip_prefix('='));
                    let value = value.with_context(|| format!("{text}: no {name}"))?;
                    Ok(value.parse()?)
                };
                let op = match first {
                    $($word => Self::$name $({ $($field: number(stringify!($field))?),* })?,)*
                    _ => bail!("no operation: {text}"),
                };
                ensure!(words.next().is_none(), "{text}: too many numbers");
                Ok(op)
            }
        }
    };
}

// `slot` is a place for a file, which has a name, or only a descriptor; `at`, `len` and `size`
// are bytes; a mapper is a process, with some areas that it maps.
operations! {
    Create "create" { slot };
    /// A file without a name.
    Tmpfile "tmpfile" { slot };
    Link "link" { slot };
    Rename "rename" { slot, to };
    Unlink "unlink" { slot };
    Write "write" { slot, at, len, tag };
    /// write(2) of a buffer of which only the first bytes can be read.
    Short "short-write" { slot, at, len, good, byte };
    /// O_DIRECT.
    Direct "direct" { slot, at, len, tag };
    Read "read" { slot, at, len };
    Truncate "truncate" { slot, size };
    Reserve "reserve" { slot, at, len };
    Punch "punch" { slot, at, len };
    Zero "zero" { slot, at, len };
    Insert "insert" { slot, at, len };
    Collapse "collapse" { slot, at, len };
    Unshare "unshare" { slot, at, len };
    Clone "clone" { slot, to };
    CloneRange "clone-range" { slot, at, len, to, to_at };
    Dedupe "dedupe" { slot, at, len, to };
    Exchange "exchange" { slot, at, len, to, to_at };
    Fsync "fsync" { slot };
    /// Swapping to the file, which is refused.
    SwapOn "swapon" { slot };
    Sync "sync";

    Start "start" { mapper, early };
    Fork "fork" { mapper, to };
    Exit "exit" { mapper };
    Map "map" { mapper, area, slot, first, pages, kind };
    Unmap "unmap" { mapper, area };
    Load "load" { mapper, area, page, pages };
    Store "store" { mapper, area, page, offset, byte };
    Protect "protect" { mapper, area, writable };
    Move "move" { mapper, area };
    Forget "forget" { mapper, area, page, pages };
    Populate "populate" { mapper, area, page, pages };
    Msync "msync" { mapper, area };
    /// write(2) of a mapped page to a page of a file.
    Send "send" { mapper, area, page, slot, to };
    /// read(2) of a page of a file into a mapped page.
    Receive "receive" { mapper, area, page, slot, from };
    /// process_vm_readv() of a mapped page.
    Peek "peek" { mapper, area, page };
    /// PTRACE_PEEKDATA of a mapped page, and PTRACE_POKEDATA.
    Poke "ptrace" { mapper, area, page, word };
    Lock "mlock" { mapper, area, page, pages };
    /// The mapper runs its program anew.
    Exec "exec" { mapper };
    /// A machine check on a mapped page that a pipe holds.
    Pipe "mce-vmsplice" { mapper, area, page };

    /// Stores to pages, over and over, while these are shared and fail.
    Race "race" { mapper, area, page, pages, byte, real };

    /// A machine check on a page of a file.
    Check "mce" { slot, page };
    /// A scrub finds a page of a file, where the firmware can tell.
    Found "scrub" { slot, page };
    /// One sector of it, or, without `saturate`, as little as can be cleared at once.
    Sector "scrub-sector" { slot, page, sector, saturate };
    /// hwpoison-inject on a page of a file.
    Inject "inject" { slot, page };
    /// MADV_HWPOISON on a mapped page.
    Advise "hwpoison" { mapper, area, page };
    /// A machine check on a mapped page.
    CheckMapped "mce-mapped" { mapper, area, page };
    /// One that the mapper consumes.
    Consume "mce-consumed" { mapper, area, page };
    /// A machine check on free space; `salt` chooses the block.
    CheckFree "mce-free" { salt };
    InjectFree "inject-free" { salt };
    FoundFree "scrub-free" { salt };
    /// On blocks that are reserved for copies.
    CheckStaging "mce-staging" { salt };
    InjectStaging "inject-staging" { salt };

    /// In metadata, or in the log; then all is unmounted and mounted.
    CheckMetadata "mce-metadata" { salt };
    InjectMetadata "inject-metadata" { salt };
    FoundMetadata "scrub-metadata" { salt };

    /// growfs by so many megabytes.
    Grow "grow" { mib };
    /// The driver goes away and comes back; `dead`: when the filesystem was shut down before.
    Rebind "rebind" { dead };
    /// umount -l, and a machine check on a page that is still mapped.
    Detach "lazy-umount" { mapper, area, page };
    /// Zeroes to the block device, where a file has lost a page.
    Clear "clear-errors" { slot, page };
    /// The firmware refuses to clear a machine check on a page of a file, for a while.
    Refuse "refuse" { slot, page };
    RefuseFree "refuse-free" { salt };
    /// From now on the firmware takes so long to clear an error.
    Slow "slow-clear" { milliseconds };
    /// Unmount and mount.
    Remount "remount";
    /// Shut down; a machine check on a page of a file; unmount and mount.
    ShutDown "shut-down" { slot, page };
    /// A machine check on a page of a file while the filesystem is frozen.
    Frozen "mce-frozen" { slot, page };
    /// A machine check on free space while it is mounted read-only.
    ReadOnly "mce-read-only" { salt };
    /// Compares everything.
    Compare "compare";
}

impl Op {
    /// Whether it is about blocks that no file has.
    pub fn hits_nobody(self) -> bool {
        matches!(
            self,
            Self::CheckFree { .. }
                | Self::InjectFree { .. }
                | Self::FoundFree { .. }
                | Self::CheckStaging { .. }
                | Self::InjectStaging { .. }
                | Self::RefuseFree { .. }
                | Self::Refuse { .. }
                | Self::CheckMetadata { .. }
                | Self::InjectMetadata { .. }
                | Self::FoundMetadata { .. }
        )
    }

    /// Whether it may end in one way or another: then it is worth to be tried again.
    pub fn is_racy(self) -> bool {
        matches!(
            self,
            Self::Race { .. }
                | Self::Consume { .. }
                | Self::CheckFree { .. }
                | Self::InjectFree { .. }
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
        let write = Op::Write {
            slot: 1,
            at: 4096,
            len: 10,
            tag: 7,
        };
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
