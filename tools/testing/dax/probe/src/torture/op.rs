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

    /// Stores to pages, over and over, while these are shared and fail.
    Race "race" { mapper, area, page, pages, byte, real };

    /// A machine check on a page of a file.
    Check "mce" { slot, page };
    /// A scrub finds a page of a file, where the firmware can tell.
    Found "scrub" { slot, page };
    /// hwpoison-inject on a page of a file.
    Inject "inject" { slot, page };
    /// MADV_HWPOISON on a mapped page.
    Advise "hwpoison" { mapper, area, page };
    /// A machine check on a mapped page.
    CheckMapped "mce-mapped" { mapper, area, page };
    /// A machine check on free space; `salt` chooses the block.
    CheckFree "mce-free" { salt };
    InjectFree "inject-free" { salt };
    /// On blocks that are reserved for copies.
    CheckStaging "mce-staging" { salt };
    InjectStaging "inject-staging" { salt };

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
