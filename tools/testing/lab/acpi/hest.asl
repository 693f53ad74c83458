/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An error source of the firmware, for errors of CXL devices that it hears of first:
 * the kernel looks ten times a second whether there is a record. The register with
 * the record's address is in memory which the kernel's command line reserves
 * (qemu.rs). dax-probe is the firmware (ghes.rs).
 */
[0004]                          Signature : "HEST"
[0004]                       Table Length : 00000000
[0001]                           Revision : 01
[0001]                           Checksum : 00
[0006]                             Oem ID : "DAXLAB"
[0008]                       Oem Table ID : "HEST    "
[0004]                       Oem Revision : 00000001
[0004]                    Asl Compiler ID : "INTL"
[0004]              Asl Compiler Revision : 00000001

[0004]                 Error Source Count : 00000001

[0002]                      Subtable Type : 0009
[0002]                          Source Id : 0000
[0002]                  Related Source Id : FFFF
[0001]                           Reserved : 00
[0001]                            Enabled : 01
[0004]             Records To Preallocate : 00000001
[0004]            Max Sections Per Record : 00000001
[0004]                Max Raw Data Length : 00001000

[0012]               Error Status Address : [Generic Address Structure]
[0001]                           Space ID : 00
[0001]                          Bit Width : 40
[0001]                         Bit Offset : 00
[0001]               Encoded Access Width : 04
[0008]                            Address : 0000000070000000

[0028]                             Notify : [Hardware Error Notification Structure]
[0001]                        Notify Type : 00
[0001]                      Notify Length : 1C
[0002]         Configuration Write Enable : 0000
[0004]                       PollInterval : 00000064
[0004]                             Vector : 00000000
[0004]            Polling Threshold Value : 00000000
[0004]           Polling Threshold Window : 00000000
[0004]              Error Threshold Value : 00000000
[0004]             Error Threshold Window : 00000000

[0004]          Error Status Block Length : 00001000
