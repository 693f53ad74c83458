// SPDX-License-Identifier: GPL-2.0

//! Files in which each page tells whose it is, so that no other data can stand for it;
//! and a filesystem full of them.

use crate::scenes::prelude::*;

/// Pages that are written and read at a time.
const CHUNK: usize = 1024;

/// What pages `first..last` of the files that are called `name` hold: enough to tell them
/// from all others, and [`pattern`] at their starts. `name` is not 0.
fn content(name: u64, first: usize, last: usize) -> Vec<u8> {
    let mut data = vec![name as u8 | 1; (last - first) * PAGE_SIZE];
    for (page, bytes) in (first..last).zip(data.chunks_mut(PAGE_SIZE)) {
        bytes[..8].fill(pattern(page));
        bytes[8..16].copy_from_slice(&name.to_ne_bytes());
        bytes[16..24].copy_from_slice(&(page as u64).to_ne_bytes());
    }
    data
}

/// Writes pages `first..last` of such a file; how many there are then, in any case.
pub fn write(file: &File, name: u64, first: usize, last: usize) -> (usize, io::Result<()>) {
    let data = content(name, first, last);
    let (start, mut done) = (first * PAGE_SIZE, 0);
    while done < data.len() {
        match file.write_at(&data[done..], (start + done) as u64) {
            Ok(n) => done += n,
            Err(e) => return (first + done / PAGE_SIZE, Err(e)),
        }
    }
    (last, Ok(()))
}

/// Whether the first `pages` pages of such a file are as written: INTACT.
pub fn check(path: &Path, name: u64, pages: usize) -> String {
    let check = || -> io::Result<bool> {
        let file = File::open(path)?;
        let mut data = vec![0; CHUNK.min(pages) * PAGE_SIZE];
        for first in (0..pages).step_by(CHUNK) {
            let last = (first + CHUNK).min(pages);
            let data = &mut data[..(last - first) * PAGE_SIZE];
            file.read_exact_at(data, (first * PAGE_SIZE) as u64)?;
            if *data != content(name, first, last) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    match check() {
        Ok(true) => INTACT.into(),
        Ok(false) => "data differ".into(),
        Err(e) => outcome(Err(e)),
    }
}

/// What fills a filesystem.
pub struct Full {
    files: Vec<(PathBuf, usize)>,
    /// How often a write met another error than ENOSPC.
    pub errors: usize,
}

impl Full {
    /// Writes files until there is no room, with as many errors as may be.
    pub fn new(xfs: &Xfs, patience: usize) -> Result<Self> {
        const PAGES: usize = 16 * CHUNK;
        let mut full = Self {
            files: Vec::new(),
            errors: 0,
        };
        let mut size = CHUNK;
        while size > 0 && full.errors <= patience {
            let name = full.files.len() as u64 + 1;
            let path = xfs.path(&format!("full-{name}"));
            let file = match File::create(&path) {
                Err(e) if e.kind() == io::ErrorKind::StorageFull => break,
                file => file?,
            };
            let mut pages = 0;
            while pages < PAGES && size > 0 {
                let (now, done) = write(&file, name, pages, pages + size);
                pages = now;
                match done {
                    Ok(()) => (),
                    Err(e) if e.kind() == io::ErrorKind::StorageFull => size /= 32,
                    Err(_) => {
                        full.errors += 1;
                        break;
                    }
                }
            }
            full.files.push((path, pages));
        }
        Ok(full)
    }

    /// Whether all that was written is there: INTACT.
    pub fn check(&self) -> String {
        for ((path, pages), name) in self.files.iter().zip(1..) {
            let data = check(path, name, *pages);
            if data != INTACT {
                return format!("{}: {data}", path.display());
            }
        }
        INTACT.into()
    }

    /// Deletes it.
    pub fn remove(self) -> io::Result<()> {
        let mut files = self.files.iter();
        files.try_for_each(|(path, _)| std::fs::remove_file(path))
    }

    pub fn pages(&self) -> usize {
        self.files.iter().map(|(_, pages)| pages).sum()
    }
}
