/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest's persistent memory: two ranges, /dev/pmem0 and /dev/pmem1. QEMU gives
 * the guest RAM there, and the kernel's command line reserves it (qemu.rs).
 */
[0004]                          Signature : "NFIT"
[0004]                       Table Length : 00000000
[0001]                           Revision : 01
[0001]                           Checksum : 00
[0006]                             Oem ID : "DAXLAB"
[0008]                       Oem Table ID : "NFIT    "
[0004]                       Oem Revision : 00000001
[0004]                    Asl Compiler ID : "INTL"
[0004]              Asl Compiler Revision : 00000001
[0004]                           Reserved : 00000000

[0002]                      Subtable Type : 0000
[0002]                             Length : 0040
[0002]                        Range Index : 0001
[0002]              Flags (decoded below) : 0004
                Add/Online Operation Only : 0
                   Proximity Domain Valid : 0
                    Location Cookie Valid : 1
[0004]                           Reserved : 00000000
[0004]                   Proximity Domain : 00000000
[0016]                   Region Type GUID : 66F0D379-B4F3-4074-AC43-0D3318B78CDB
[0008]                 Address Range Base : 0000000100000000
[0008]               Address Range Length : 0000000040000000
[0008]               Memory Map Attribute : 0000000000008008
[0008]                    Location Cookie : 0000000000000000

[0002]                      Subtable Type : 0000
[0002]                             Length : 0040
[0002]                        Range Index : 0002
[0002]              Flags (decoded below) : 0004
                Add/Online Operation Only : 0
                   Proximity Domain Valid : 0
                    Location Cookie Valid : 1
[0004]                           Reserved : 00000000
[0004]                   Proximity Domain : 00000000
[0016]                   Region Type GUID : 66F0D379-B4F3-4074-AC43-0D3318B78CDB
[0008]                 Address Range Base : 0000000180000000
[0008]               Address Range Length : 0000000040000000
[0008]               Memory Map Attribute : 0000000000008008
[0008]                    Location Cookie : 0000000000000000
