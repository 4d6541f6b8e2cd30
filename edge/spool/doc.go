// Package spool holds messages on disk while the broker cannot take them, and
// what is needed around that: the ring of live masks that are sent but not
// proven to have arrived, and the limiter of the rate at which old messages are
// delivered.
//
// A Spool is ordered, bounded in bytes and age, and has three classes. Messages
// of a class lie in segment files in the order in which they came, each with a
// checksum; what was confirmed is in a small file of cursors. docs/spool.md
// describes the files, and what a crash and a power cut can do to them.
//
// No method but Run touches the disk: Append copies into a bounded queue, Next
// hands out what Run has read ahead, Confirm notes a number. So a disk that is
// full, read-only, slow or dead costs messages, which are counted, and never
// time of the caller.
//
// Goroutines: Run alone; it starts no other.
package spool
