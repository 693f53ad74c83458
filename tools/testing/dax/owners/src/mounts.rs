// SPDX-License-Identifier: GPL-2.0

//! What is mounted, and on which devices.

use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::device::{Device, Number};

/// Filesystems whose extents are places on a device.
const KNOWN: [&str; 5] = ["xfs", "ext4", "ext3", "ext2", "erofs"];

/// A line of mountinfo.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Mount {
    device: Number,
    /// Of the filesystem's folders, which one is mounted.
    root: PathBuf,
    point: PathBuf,
    kind: String,
    /// Devices beside the one that it is mounted from, and what is there.
    more: Vec<(&'static str, String)>,
}

/// A filesystem, and a file of it that is open.
pub struct Filesystem {
    pub kind: String,
    pub device: Number,
    /// What is on which device.
    pub roles: Vec<(&'static str, Number)>,
    /// The folder that is mounted, and where.
    root: PathBuf,
    pub point: PathBuf,
    pub file: File,
}

impl Filesystem {
    pub fn role(&self, device: Number) -> Option<&'static str> {
        let mut roles = self.roles.iter();
        roles
            .find(|(_, number)| *number == device)
            .map(|(role, _)| *role)
    }

    pub fn is_xfs(&self) -> bool {
        self.kind == "xfs"
    }

    /// Whether all of its folders can be reached.
    pub fn is_whole(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where a file of it is, that has this path in it, if its folder is mounted.
    pub fn locate(&self, path: &Path) -> Option<PathBuf> {
        Some(self.point.join(path.strip_prefix(&self.root).ok()?))
    }
}

/// All that can be asked.
pub fn filesystems() -> Result<Vec<Filesystem>> {
    const LIST: &str = "/proc/self/mountinfo";
    let text = fs::read(LIST).context(LIST)?;
    let lines = text.split(|byte| *byte == b'\n');
    let mut mounts: Vec<_> = lines.filter_map(parse).collect();
    mounts.retain(|mount| KNOWN.contains(&&*mount.kind));
    // The one with the most folders.
    mounts.sort_by_key(|mount| (mount.device, mount.root.as_os_str().len()));
    let mut all: Vec<Filesystem> = Vec::new();
    for mount in mounts {
        if all.last().is_some_and(|last| last.device == mount.device) {
            continue;
        }
        all.extend(open(mount));
    }
    Ok(all)
}

/// None if something else is mounted over it.
fn open(mount: Mount) -> Option<Filesystem> {
    let file = File::open(&mount.point).ok()?;
    let is_it = Number::of(file.metadata().ok()?.dev()) == mount.device;
    let number = |path: &str| Some(Device::named(path).ok()?.number);
    let more = mount
        .more
        .iter()
        .filter_map(|(role, path)| Some((*role, number(path)?)));
    is_it.then(|| Filesystem {
        roles: [("data", mount.device)].into_iter().chain(more).collect(),
        kind: mount.kind,
        device: mount.device,
        root: mount.root,
        point: mount.point,
        file,
    })
}

fn parse(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|byte| *byte == b' ');
    let text = |word: &[u8]| String::from_utf8_lossy(&unescaped(word)).into_owned();
    let path = |word: &[u8]| PathBuf::from(std::ffi::OsString::from_vec(unescaped(word)));
    let device = Number::parse(&text(words.nth(2)?), 10)?;
    let (root, point) = (path(words.next()?), path(words.next()?));
    words.find(|word| *word == b"-")?;
    let kind = text(words.next()?);
    let options = text(words.nth(1)?);
    let mut more = Vec::new();
    for option in options.split(',') {
        match option.split_once('=') {
            Some(("logdev", path)) => more.push(("log", path.into())),
            Some(("rtdev", path)) => more.push(("realtime", path.into())),
            _ => (),
        }
    }
    Some(Mount {
        device,
        root,
        point,
        kind,
        more,
    })
}

/// A backslash and three octal digits stand for a byte.
fn unescaped(word: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = word;
    while let [first, more @ ..] = rest {
        let digits = more
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &more[3..];
            }
            _ => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines() {
        let line = b"36 25 259:0 /sub /mnt/a\\040b rw,noatime shared:1 - xfs /dev/pmem0 \
                     rw,attr2,logdev=/dev/pmem1p1,rtdev=/dev/pmem1p2";
        let mount = parse(line).unwrap();
        assert_eq!(mount.device.to_string(), "259:0");
        assert_eq!(mount.point, Path::new("/mnt/a b"));
        assert_eq!((mount.root, &*mount.kind), ("/sub".into(), "xfs"));
        let log = ("log", "/dev/pmem1p1".to_string());
        assert_eq!(mount.more, [log, ("realtime", "/dev/pmem1p2".into())]);
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"36 25 259:0 / /mnt rw - xfs /dev/pmem0"), None);
    }

    proptest! {
        #[test]
        fn escapes(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let escape = |byte: &u8| match byte {
                b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
                _ => vec![*byte],
            };
            let escaped: Vec<_> = bytes.iter().flat_map(escape).collect();
            prop_assert_eq!(unescaped(&escaped), bytes);
        }
    }
}
