// The portal's files, carried inside this executable; see api/studio/pack.h.
    .section .rodata
    .balign 16
    .global turnout_portal_image_begin
    .global turnout_portal_image_end
turnout_portal_image_begin:
    .incbin TURNOUT_PORTAL_IMAGE
turnout_portal_image_end:
    .byte 0
    .section .note.GNU-stack,"",@progbits
