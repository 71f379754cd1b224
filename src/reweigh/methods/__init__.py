"""Methods, ONE FILE EACH, which reads like the algorithm box of its paper. The class is `Method` in every file."""
