// SPDX-License-Identifier: GPL-2.0

//! The processes that map files.

use std::fs;
use std::str::FromStr;

use serde::Serialize;

use crate::device::Number;
use crate::range::Range;

/// A mapping of bytes of a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Process {
    pub pid: u32,
    pub comm: String,
    /// Where it has the first of them.
    pub address: u64,
    /// Which byte of the file that is.
    pub file_offset: u64,
    pub length: u64,
}

/// A line of /proc/PID/maps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mapping {
    memory: Range,
    offset: u64,
    device: Number,
    inode: u64,
}

pub struct Processes(Vec<(u32, String, Mapping)>);

impl Processes {
    /// All mappings of files on a few devices. A process that ends meanwhile is left out.
    pub fn of(devices: &[Number]) -> Self {
        let mut all = Vec::new();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name());
        for pid in names.filter_map(|name| u32::from_str(name.to_str()?).ok()) {
            let read = |name| fs::read(format!("/proc/{pid}/{name}"));
            let (Ok(maps), Ok(comm)) = (read("maps"), read("comm")) else {
                continue;
            };
            let comm = String::from_utf8_lossy(&comm).trim_end().to_string();
            let maps = String::from_utf8_lossy(&maps);
            let mappings = maps.lines().filter_map(parse);
            let wanted = mappings.filter(|mapping| devices.contains(&mapping.device));
            all.extend(wanted.map(|mapping| (pid, comm.clone(), mapping)));
        }
        all.sort_by_key(|(pid, _, mapping)| (*pid, mapping.memory.start));
        Self(all)
    }

    pub fn that_map(&self, device: Number, inode: u64, bytes: Range) -> Vec<Process> {
        let same = |mapping: &Mapping| (mapping.device, mapping.inode) == (device, inode);
        let all = self.0.iter().filter(|(_, _, mapping)| same(mapping));
        let process = |(pid, comm, mapping): &(u32, String, Mapping)| {
            let (common, address) = mapping.part(bytes)?;
            Some(Process {
                pid: *pid,
                comm: comm.clone(),
                address,
                file_offset: common.start,
                length: common.len(),
            })
        };
        all.filter_map(process).collect()
    }
}

impl Mapping {
    /// Which of a file's bytes it has, and where in memory.
    fn part(&self, bytes: Range) -> Option<(Range, u64)> {
        let file = self.memory.moved(self.memory.start, self.offset);
        let common = bytes.common(file)?;
        Some((common, self.memory.start + common.start - self.offset))
    }
}

fn parse(line: &str) -> Option<Mapping> {
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let mut words = line.split(' ');
    let (start, end) = words.next()?.split_once('-')?;
    let offset = words.nth(1)?;
    Some(Mapping {
        memory: Range::new(hex(start)?, hex(end)?),
        offset: hex(offset)?,
        device: Number::parse(words.next()?, 16)?,
        inode: words.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines() {
        let line = "7f0000001000-7f0000003000 rw-s 00002000 103:00 131                  /mnt/a b";
        let mapping = parse(line).unwrap();
        assert_eq!(mapping.device, Number::parse("259:0", 10).unwrap());
        assert_eq!((mapping.inode, mapping.offset), (131, 0x2000));
        let (common, address) = mapping.part(Range::sized(0x3000, 0x1000)).unwrap();
        assert_eq!(
            (common, address),
            (Range::sized(0x3000, 0x1000), 0x7f00_0000_2000)
        );
        assert_eq!(mapping.part(Range::sized(0x4000, 1)), None);
        for bad in [
            "",
            "7f00",
            "7f00-7f01 rw-s",
            "x-y rw-s 0 0:0 1",
            "0-1 r 0 0 1",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn parts(
            (start, pages, offset) in (1..99u64, 1..9u64, 0..9u64),
            (at, len) in (0..20_000u64, 1..50_000u64),
        ) {
            let (start, offset) = (start << 12, offset << 12);
            let end = start + (pages << 12);
            let line = format!("{start:x}-{end:x} r--p {offset:08x} fe:01 7");
            let mapping = parse(&line).unwrap();
            match mapping.part(Range::sized(at, len)) {
                Some((common, address)) => {
                    prop_assert!(common.start >= at && common.end <= at + len);
                    prop_assert!(address >= start && address + common.len() <= end);
                    prop_assert_eq!(address - start, common.start - offset);
                }
                None => prop_assert!(at + len <= offset || at >= offset + end - start),
            }
        }
    }
}
