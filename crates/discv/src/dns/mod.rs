//! Lists of nodes in DNS (EIP-1459).
