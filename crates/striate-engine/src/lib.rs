//! Plans and runs Striate graphs on a device
