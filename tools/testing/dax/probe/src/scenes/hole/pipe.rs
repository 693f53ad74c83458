// SPDX-License-Identifier: GPL-2.0

//! A page of a DAX file that lies in a pipe (vmsplice) when it fails: the pipe keeps a
//! reference to it, and whoever empties the pipe copies by its address.

use std::io::Read;
use std::ptr::null_mut;

use super::super::bad::mend;
use super::*;

const PAGES: usize = 32;
/// On a tmpfs.
const TARGET: &str = "/dev/shm/spliced";

/// A way to empty the pipe.
type Way = fn(&File, &File) -> io::Result<usize>;

const WAYS: [(&str, Way); 2] = [
    ("splice to tmpfs", |reader, to| {
        let (from, to) = (reader.as_raw_fd(), to.as_raw_fd());
        // SAFETY: no offsets.
        let ret = unsafe { libc::splice(from, null_mut(), to, null_mut(), PAGE_SIZE, 0) };
        usize::try_from(ret).map_err(|_| io::Error::last_os_error())
    }),
    ("read", |mut reader, _| reader.read(&mut [0; PAGE_SIZE])),
];

scene!(SPLICE = 160 "splice" splice: "a page in a pipe that fails";
    both, crashes("copy_folio_from_iter_atomic"));
/// Each way, with an error while the page lies there; and with one more, after it was
/// written again.
fn splice(_: u64) -> Result<()> {
    let (_, path) = Xfs::with_file("file", PAGES)?;
    let area = Area::shared(&path, PAGES)?;
    let to = File::create(TARGET)?;

    for (n, (name, way)) in WAYS.into_iter().enumerate() {
        let (mut once, mut again) = (Vec::new(), Vec::new());
        for page in (0..PAGES).filter(|page| page % WAYS.len() == n) {
            let pipes = [fill_pipe(&area, page)?, fill_pipe(&area, page)?];
            let bad = Bad::hit(&path, page)?;
            sleep(MOMENT);
            once.push(outcome(way(&pipes[0].0, &to)));
            mend(&path, page, page + 1)?;
            let report = bad.report()?;
            ensure!(report == "Recovered", "machine check: {report}");
            sleep(MOMENT);
            again.push(outcome(way(&pipes[1].0, &to)));
            // Only now is the kernel done with the page.
            drop(pipes);
            sleep(MOMENT);
            mend(&path, page, page + 1)?;
        }
        told(name, &once)?;
        told(&format!("{name}, mended"), &again)?;
    }
    drop((area, to));
    fs::remove_file(TARGET)?;
    expect("file", INTACT, xfs::intact(&path, PAGES))
}

/// A pipe with a page of the mapping.
fn fill_pipe(area: &Area, page: usize) -> Result<(File, File)> {
    let (reader, writer) = calls::pipe()?;
    put(area, page, &writer)?;
    Ok((reader, writer))
}

/// Puts a page of the mapping into a pipe, which then refers to it.
pub fn put(area: &Area, page: usize, writer: &File) -> Result<()> {
    let touched = area.load(page);
    ensure!(touched == "reads", "page {page}: {touched}");
    let put = calls::vmsplice(writer, area.addr(page), PAGE_SIZE).context("vmsplice")?;
    ensure!(put == PAGE_SIZE, "vmsplice: {put} bytes");
    Ok(())
}

fn told(name: &str, answers: &[String]) -> Result<()> {
    let fine = |said: &&String| matches!(said.as_str(), "4096 bytes" | "EFAULT" | "EIO");
    let good = answers.iter().filter(fine).count();
    let all = answers.len();
    let of = |count: usize| format!("{count} of {all} data, EFAULT, EIO");
    expect(name, &of(all), of(good))?;
    let mut kinds = answers.to_vec();
    kinds.sort();
    kinds.dedup();
    note(&format!("{name}: {}", kinds.join(", ")))
}

/// Leaves a pipe to the parent, in a process that ends without dropping what it has from there.
pub fn leave(pipe: &(File, File)) {
    for end in [&pipe.0, &pipe.1] {
        // SAFETY: nothing uses it after this.
        unsafe { libc::close(end.as_raw_fd()) };
    }
}
