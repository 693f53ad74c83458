// SPDX-License-Identifier: GPL-2.0

//! A page leaves the kernel's direct map only when nothing in the kernel can still copy
//! by its address: each scene has something that does, and memory that fails
//! beneath it.

use crate::scenes::prelude::*;

pub mod cache;
pub mod dio;
pub mod dump;
pub mod parked;
pub mod peek;
pub mod pipe;
pub mod writer;

/// The longest time in seconds that copies and errors race.
const RACE: u64 = 10;
/// What the driver does after an error, without being waited for.
const MOMENT: Duration = Duration::from_millis(50);

/// The answers to system calls that may meet memory that failed.
#[derive(Default)]
struct Answers {
    /// All was copied.
    whole: u64,
    /// Less was.
    part: u64,
    /// None, and EFAULT or EIO.
    refused: u64,
}

impl Answers {
    fn sum(&self) -> u64 {
        self.whole + self.part + self.refused
    }
}

/// Whether an errno is one that a copy of failed memory may end with.
fn is_refusal(errno: i32) -> bool {
    matches!(errno, libc::EFAULT | libc::EIO | libc::EHWPOISON)
}

/// Machine checks on page after page of a file for some time, each of which is written
/// again; how many.
fn fail_and_mend(file: &File, pages: usize, time: Duration) -> Result<u64> {
    let first = ioctl::physical(file, 0)?;
    let end = Instant::now() + time;
    let mut reports = 0;
    while Instant::now() < end {
        let page = reports as usize * 7 % pages;
        mce::deliver(Pmem(0).address(first + page as u64 * PAGE)?)?;
        // Between the error and its end, what copies is to meet it.
        sleep(MOMENT / 10);
        fill(file, page, page + 1)?;
        reports += 1;
    }
    Ok(reports)
}
