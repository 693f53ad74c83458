// SPDX-License-Identifier: GPL-2.0

//! `ndctl clear-errors`: it takes the driver away, clears by the ioctl of the nvdimm bus, and has
//! the driver look again. All lists must agree then.

use super::{tool, Said};
use crate::scenes::prelude::*;

const PAGES: usize = 16;
const HIT: usize = 5;

scene!(CLEAR_ERRORS = 275 "clear-errors" play: "ndctl clear-errors on a file's bad page";
    nfit, passes(UNCHANGED));
fn play(_: u64) -> Result<()> {
    let device = Device::new(0)?;
    let (xfs, file) = Xfs::with_file("file", PAGES)?;
    let bad = Bad::unreported(&file, HIT)?;
    device.inject(bad.at / PAGE, 8, &["--saturate"])?;
    expect("injected: driver", &bad.sectors(), device.0.badblocks()?)?;
    let clear = || -> Result<Said> {
        let mut ndctl = tool("ndctl", "ndctl")?;
        Said::of(ndctl.args(["clear-errors", &device.namespace()?]))
    };
    expect(
        "mounted",
        "Device or resource busy",
        clear()?.with("Device or resource busy"),
    )?;
    expect("mounted: driver", &bad.sectors(), device.0.badblocks()?)?;
    let read = || -> Result<String> { Ok(read_page(&File::open(&file)?, HIT as u64 * PAGE)) };
    expect("mounted: file", "EIO", read()?)?;

    xfs::umount()?;
    let words = "cleared 1 namespace";
    expect("unmounted", words, clear()?.with(words))?;
    expect("cleared: marks", "none", bad.marks()?)?;
    expect("cleared: firmware", "none", device.errors()?)?;
    xfs.mount()?;
    // What the page holds is the firmware's choice.

    expect("cleared: file", "ok", read()?)?;
    bad::mend(&file, HIT, HIT + 1)?;
    expect("restored", INTACT, xfs::intact(&file, PAGES))
}
