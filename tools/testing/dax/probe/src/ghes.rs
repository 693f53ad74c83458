// SPDX-License-Identifier: GPL-2.0

//! The firmware's error source of `--platform cxl` (tools/testing/lab/acpi/hest.asl). Firmware that
//! handles a device's errors first hands its event to the kernel as a record (CPER). Layouts as in
//! the kernel's include/acpi/actbl1.h and include/cxl/event.h; all numbers are little-endian.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::kernel::until;

/// Where the register is that has the address of the record, and where the record is.
const REGISTER: u64 = 0x7000_0000;
const RECORD: u64 = REGISTER + 0x1000;
const MEMORY: &str = "/dev/mem";

/// fbcd0a77-c260-417f-85a9-088b1621eba6: a section with a General Media Event.
const GENERAL_MEDIA: [u8; 16] = [
    0x77, 0x0a, 0xcd, 0xfb, 0x60, 0xc2, 0x7f, 0x41, 0x85, 0xa9, 0x08, 0x8b, 0x16, 0x21, 0xeb, 0xa6,
];
/// Of the record: one error that is not corrected; recoverable.
const UNCORRECTABLE: u32 = 1 | (1 << 4);
const RECOVERABLE: u32 = 0;
/// Of the section: its header ends with a time.
const REVISION: u16 = 0x300;
const SECTION_HEADER: usize = 72;
/// Of what is in it: the device's address, and an event.
const VALID: u64 = 1 | (1 << 2);
const EVENT_HEADER: usize = 32;
const EVENT: usize = 112;
/// The severity of the event: failure.
const FAILURE: u8 = 2;

/// A device's place among all PCI devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PciAddress {
    pub segment: u16,
    pub bus: u8,
    pub device: u8,
    pub function: u8,
}

impl PciAddress {
    /// From sysfs's name, `0000:0d:00.0`.
    pub fn parse(name: &str) -> Option<Self> {
        let (segment, rest) = name.split_once(':')?;
        let (bus, rest) = rest.split_once(':')?;
        let (device, function) = rest.split_once('.')?;
        Some(Self {
            segment: u16::from_str_radix(segment, 16).ok()?,
            bus: u8::from_str_radix(bus, 16).ok()?,
            device: u8::from_str_radix(device, 16).ok()?,
            function: function.parse().ok()?,
        })
    }
}

/// Tells of memory at `address`, in bytes from the device's start, that can't be corrected; waits
/// until the kernel has taken the record.
pub fn report(device: PciAddress, address: u64) -> Result<()> {
    let memory = OpenOptions::new().read(true).write(true).open(MEMORY);
    let memory = memory.context(MEMORY)?;
    let write = |at, bytes: &[u8]| memory.write_all_at(bytes, at).context(MEMORY);
    // The kernel looks for a record whenever it likes.
    write(REGISTER, &0u64.to_le_bytes())?;
    write(RECORD, &record(device, address))?;
    write(REGISTER, &RECORD.to_le_bytes())?;
    let patience = crate::kernel::limit(20);
    let taken = until(patience, Duration::from_millis(20), || status(&memory))?;
    ensure!(taken, "the kernel does not look for the firmware's records");
    Ok(())
}

/// Whether there is no record, or the kernel has it.
fn status(memory: &File) -> Result<bool> {
    let mut status = [0; 4];
    memory.read_exact_at(&mut status, RECORD).context(MEMORY)?;
    Ok(status == [0; 4])
}

fn record(device: PciAddress, address: u64) -> Vec<u8> {
    let payload = EVENT_HEADER + EVENT;
    let mut bytes = Vec::new();
    for word in [
        UNCORRECTABLE,
        0,
        0,
        (SECTION_HEADER + payload) as u32,
        RECOVERABLE,
    ] {
        bytes.extend(word.to_le_bytes());
    }

    let section = bytes.len();
    bytes.extend(GENERAL_MEDIA);
    bytes.extend(RECOVERABLE.to_le_bytes());
    bytes.extend(REVISION.to_le_bytes());
    bytes.extend([0; 2]);
    bytes.extend((payload as u32).to_le_bytes());
    bytes.resize(section + SECTION_HEADER, 0);

    bytes.extend((payload as u32).to_le_bytes());
    bytes.extend(VALID.to_le_bytes());
    // What kind of device it is the kernel does not ask.
    bytes.extend([0; 4]);
    bytes.extend([device.function, device.device, device.bus]);
    bytes.extend(device.segment.to_le_bytes());
    bytes.resize(section + SECTION_HEADER + EVENT_HEADER, 0);

    let event = bytes.len();
    bytes.extend([EVENT as u8, FAILURE]);
    bytes.resize(event + 32, 0);
    bytes.extend(address.to_le_bytes());
    // Its descriptor: it can't be corrected.
    bytes.push(1);
    bytes.resize(event + EVENT, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pci_devices() {
        let address = PciAddress {
            segment: 1,
            bus: 0x0d,
            device: 0x1f,
            function: 7,
        };
        assert_eq!(PciAddress::parse("0001:0d:1f.7"), Some(address));
        assert_eq!(PciAddress::parse("mem0"), None);
    }

    #[test]
    fn a_record_is_as_long_as_it_says() {
        let address = PciAddress::parse("0000:0d:00.0").expect("a name");
        let record = record(address, 0x1234_5678);
        let word = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().expect("4 bytes"));
        assert_eq!(record.len(), 20 + word(12) as usize);
        assert_eq!(word(20 + 24), word(20 + SECTION_HEADER));
        assert_eq!(word(20 + SECTION_HEADER + EVENT_HEADER + 32), 0x1234_5678);
    }
}
