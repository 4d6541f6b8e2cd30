// Package update holds the device's own updates: signed files with a bundle of
// networks or a program, how they come here, and the two slots into which they are
// put, so that after any crash the old or the new one is there, whole.
//
// Three parts meet only through files. The Machine is of the service, which has no
// privileges: it fetches, verifies, and puts bundles into slots of its own. A program
// it hands over to the Installer, which is another process, run by root, and believes
// nothing: it copies, verifies again, and fills the slots of programs. Launch, before
// each start of the service, chooses a slot, and counts the starts of one that has not
// proven itself.
package update
