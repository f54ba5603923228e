"""Attribution graphs: what each part of a replacement model adds to each later one."""
