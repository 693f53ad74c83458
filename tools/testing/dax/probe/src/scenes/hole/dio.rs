// SPDX-License-Identifier: GPL-2.0

//! O_DIRECT between other devices and a mapping of a DAX file. The pages are pinned, and
//! the drivers of these devices copy by their addresses in the direct map: that of pmem in
//! one piece, and the loop device by way of a file's read and write.

use super::*;

const PAGES: usize = 64;
const LEN: usize = PAGES * PAGE_SIZE;

/// Copies all of a mapping at once; what the call returned.
type Copy = fn(device: i32, map: *mut libc::c_void) -> isize;

scene!(DIO_FROM = 158 "dio-from" from: "O_DIRECT from a mapping while its pages fail";
    timed, crashes(STORE), crashes("copy_folio_from_iter_atomic"));
/// From the mapping to the device.
fn from(seconds: u64) -> Result<()> {
    // SAFETY: reads the mapping.
    race(seconds, |device, map| unsafe {
        libc::pwrite(device, map, LEN, 0)
    })
}

scene!(DIO_INTO = 159 "dio-into" into: "O_DIRECT into a mapping while its pages fail";
    timed, crashes("_copy_to_iter"));
/// From the device to the mapping.
fn into(seconds: u64) -> Result<()> {
    // SAFETY: the mapping holds nothing but the file.
    race(seconds, |device, map| unsafe {
        libc::pread(device, map, LEN, 0)
    })
}

fn race(seconds: u64, copy: Copy) -> Result<()> {
    let (_, path) = Xfs::with_file("file", PAGES)?;
    Pmem(1).overwrite_bad()?;
    let disk = Loop::new()?;
    let devices = [
        ("pmem", Pmem(1).open()?),
        ("loop", open(Path::new(&disk.0), libc::O_DIRECT)?),
    ];
    // What is read leaves the file as it is.
    for (_, device) in &devices {
        for page in 0..PAGES {
            let data = Page([pattern(page); PAGE_SIZE]);
            device.write_all_at(&data.0, page as u64 * PAGE)?;
        }
    }
    let [stop, whole, part, refused] = counters::<4>()?;
    let _quiet = QuietConsole::new()?;
    let copier = |device: &File| {
        Worker::start(|| {
            let area = Area::shared(&path, PAGES)?;
            while stop.load(SeqCst) == 0 {
                let done = copy(device.as_raw_fd(), area.addr(0).cast());
                let counter = match done {
                    -1 if is_refusal(last_errno()) => refused,
                    -1 => bail!("{}", io::Error::last_os_error()),
                    n if n == LEN as isize => whole,
                    _ => part,
                };
                counter.fetch_add(1, SeqCst);
            }
            Ok(())
        })
    };
    let copiers = [copier(&devices[0].1)?, copier(&devices[1].1)?];
    let file = open(&path, 0)?;
    let time = Duration::from_secs(seconds.min(RACE));
    let reports = fail_and_mend(&file, PAGES, time)?;
    stop.store(1, SeqCst);
    for ((name, _), copier) in devices.iter().zip(&copiers) {
        expect(name, "done", copier.end(patience()))?;
    }
    let answers = Answers {
        whole: whole.load(SeqCst),
        part: part.load(SeqCst),
        refused: refused.load(SeqCst),
    };
    note(&format!(
        "{reports} machine checks; {} copies: {} whole, {} in part, {} EFAULT or EIO",
        answers.sum(),
        answers.whole,
        answers.part,
        answers.refused
    ))?;
    let met = answers.part + answers.refused > 0;
    expect_so("copies that met one", met, "some", "none")?;
    drop((file, devices, disk));
    expect("file", INTACT, xfs::intact(&path, PAGES))
}

/// A loop device, of a file on a tmpfs.
struct Loop(String);

impl Loop {
    fn new() -> Result<Self> {
        const FILE: &str = "/dev/shm/disk";
        File::create(FILE)?.set_len(LEN as u64)?;
        let out = Command::new("losetup")
            .args(["-f", "--show", FILE])
            .output();
        let out = out.context("losetup")?;
        let said = String::from_utf8_lossy(&out.stderr);
        ensure!(out.status.success(), "losetup: {}", said.trim());
        // The device keeps the file.
        fs::remove_file(FILE)?;
        Ok(Self(String::from_utf8_lossy(&out.stdout).trim().into()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.0]).status();
    }
}
