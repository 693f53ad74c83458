// SPDX-License-Identifier: GPL-2.0

//! PMDK on a device without a filesystem: there libpmem2 clears errors by the ioctl of the nvdimm
//! bus, which reaches the firmware.

use super::{tool, Said};
use crate::scenes::fsdev::{DaxDevice, DEVICE};
use crate::scenes::prelude::*;

/// What is read and written: the bad page lies in it.
const LENGTH: &str = "16777216";
const LISTS: &str = "firmware: 0 errors, region: none, list -M: none";

scene!(DAXIO = 274 "daxio" play: "PMDK: an error in a DAX device, cleared by daxio";
    nfit, passes(UNCHANGED));
fn play(_: u64) -> Result<()> {
    let lost = hardware_corrupted()?;
    let device = DaxDevice::new()?;
    device.inject()?;
    let lists = || -> Result<String> {
        Ok(format!(
            "firmware: {} errors, region: {}, list -M: {}",
            firmware::errors()?.len(),
            device.region_list()?,
            device.listed()?,
        ))
    };
    expect(
        "an error",
        "firmware: 1 errors, region: 4896+8, list -M: 800+8",
        lists()?,
    )?;
    let daxio = |words: &[&str]| -> Result<Said> {
        let mut daxio = tool("daxio", "pmdk-tools")?;
        Said::of(daxio.args(words).args(["--len", LENGTH]))
    };
    let path = device.path();
    let path = path.to_string_lossy();
    let keep = ["--clear-bad-blocks=no", "--zero", "--output", &path];
    expect("daxio, not cleared", "exit 0", daxio(&keep)?.ended())?;
    expect("not cleared: region", "4896+8", device.region_list()?)?;
    let clear = ["--clear-bad-blocks=yes", "--zero", "--output", &path];
    expect("daxio", "exit 0", daxio(&clear)?.ended())?;
    expect("cleared", LISTS, lists()?)?;
    device.give_back()?;
    expect("pmem: bad sectors", "none", DEVICE.badblocks()?)?;
    expect(
        "pmem: read",
        "zeros",
        DEVICE.read(crate::scenes::fsdev::BAD * PAGE)?,
    )?;
    expect(
        "HardwareCorrupted",
        "+0 kB",
        format!("{:+} kB", hardware_corrupted()? as i64 - lost as i64),
    )
}
