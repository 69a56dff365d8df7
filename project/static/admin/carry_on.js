// The proof is given: what was asked for goes on by itself.
"use strict";

document.getElementById("carry-on").requestSubmit();
