// SPDX-License-Identifier: GPL-2.0

//! Physical addresses: the pmem device that has one, or what else is there.

use std::fs;
use std::path::Path;

use anyhow::{bail, Context, Result};

use crate::device::Device;
use crate::range::{bytes, Range};

/// The device and its bytes at physical addresses.
pub fn locate(addresses: Range) -> Result<(Device, Range)> {
    for device in Device::pmem()? {
        let Some(base) = device.address() else {
            continue;
        };
        if Range::sized(base, device.size()?)
            .common(addresses)
            .is_some()
        {
            let end = base + device.size()?;
            if addresses.start < base || addresses.end > end {
                bail!(
                    "{} has addresses {base:#x}-{:#x} only",
                    device.path(),
                    end - 1
                );
            }
            return Ok((device, addresses.moved(base, 0)));
        }
    }
    let at = addresses.start;
    if let Some((name, mode)) = namespace(at)? {
        bail!("{at:#x} is in {name} (mode {mode}), but holds no data of a block device");
    }
    const MEMORY: &str = "/proc/iomem";
    let text = fs::read_to_string(MEMORY).context(MEMORY)?;
    match resource(&text, at) {
        Some(name) => bail!("{at:#x} is no pmem that a driver has, but: {name}"),
        None => bail!("{at:#x} is no memory"),
    }
}

/// The namespace that has an address, and its mode.
fn namespace(at: u64) -> Result<Option<(String, String)>> {
    const BUS: &str = "/sys/bus/nd/devices";
    if !Path::new(BUS).exists() {
        return Ok(None);
    }
    for entry in fs::read_dir(BUS)? {
        let entry = entry?;
        let read = |name| fs::read_to_string(entry.path().join(name)).ok();
        let number = |name| bytes(read(name)?.trim()).ok();
        let name = entry.file_name().to_string_lossy().into_owned();
        let (Some(start), Some(size)) = (number("resource"), number("size")) else {
            continue;
        };
        if name.starts_with("namespace")
            && Range::sized(start, size)
                .common(Range::sized(at, 1))
                .is_some()
        {
            let mode = read("mode").unwrap_or_default();
            return Ok(Some((name, mode.trim().into())));
        }
    }
    Ok(None)
}

/// The innermost resource of /proc/iomem that has an address.
fn resource(iomem: &str, at: u64) -> Option<&str> {
    let parsed = iomem.lines().filter_map(|line| {
        let (range, name) = line.trim_start().split_once(" : ")?;
        let (first, last) = range.split_once('-')?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        (hex(first)?..=hex(last)?).contains(&at).then_some(name)
    });
    // What is inside of another one comes after it.
    parsed.last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources() {
        let iomem = "00001000-0009fbff : System RAM\n\
                     140000000-17fffffff : Persistent Memory (legacy)\n  \
                     140000000-17fffffff : namespace0.0\nnonsense\n";
        assert_eq!(resource(iomem, 0x1000), Some("System RAM"));
        assert_eq!(resource(iomem, 0x1_7fff_ffff), Some("namespace0.0"));
        assert_eq!(resource(iomem, 0x1_8000_0000), None);
    }
}
