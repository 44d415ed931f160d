"""Raw text: reading what people have on disk, writing one file per tag, looking for what is wrong in it."""
