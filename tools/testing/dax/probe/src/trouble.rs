// SPDX-License-Identifier: GPL-2.0

//! What a healthy kernel doesn't print: for the host, which reads the console, and for the
//! guest, which reads the log, as scenes silence the console.

pub const WORDS: [&str; 15] = [
    "Kernel panic",
    "Oops: ",
    "BUG: ",
    "kernel BUG at",
    "WARNING: ",
    "KASAN",
    "KFENCE",
    "UBSAN",
    "possible circular locking",
    "possible recursive locking",
    "blocked for more than",
    "rcu: INFO",
    "soft lockup",
    "hard LOCKUP",
    "general protection fault",
];
