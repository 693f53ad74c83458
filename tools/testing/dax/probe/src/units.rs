// SPDX-License-Identifier: GPL-2.0

//! Sizes, in bytes.

pub const SECTOR: u64 = 512;
pub const PAGE_SIZE: usize = 4096;
pub const PAGE: u64 = PAGE_SIZE as u64;
pub const HUGE_SIZE: usize = 2 << 20;
pub const HUGE: u64 = HUGE_SIZE as u64;
