"""timm's weights for the networks that we have: how each is fed, how it was judged, on what terms it is given.

Each is on the hub as `timm/<net>.<tag>`, in model.safetensors; our `preresnet50` is their `resnetv2_50`. Filter, mean
and licence are timm 1.0.31's configurations. The accuracies are those of timm's results/results-imagenet.csv at commit
0173a139, for the side and the crop of that row; the three `ra4_e3600` rows, which are younger, come from a later state
of the same file.
"""

# net.tag, side in pixels, side over resized side, filter, mean and deviation, top-1 and top-5 in percent, licence
TABLE = """
resnet18.a1_in1k                            288  1.0   bicubic  imagenet  73.158  91.026  apache-2.0
resnet18.a2_in1k                            288  1.0   bicubic  imagenet  72.372  90.596  apache-2.0
resnet18.a3_in1k                            224  0.95  bicubic  imagenet  68.254  88.176  apache-2.0
resnet18.fb_ssl_yfcc100m_ft_in1k            224  0.875 bilinear imagenet  72.594  91.418  cc-by-nc-4.0
resnet18.fb_swsl_ig1b_ft_in1k               224  0.875 bilinear imagenet  73.282  91.732  cc-by-nc-4.0
resnet18.gluon_in1k                         224  0.875 bicubic  imagenet  70.838  89.754  apache-2.0
resnet18.tv_in1k                            224  0.875 bilinear imagenet  69.760  89.070  bsd-3-clause
resnet34.a1_in1k                            288  1.0   bicubic  imagenet  77.918  93.766  apache-2.0
resnet34.a2_in1k                            288  1.0   bicubic  imagenet  77.158  93.274  apache-2.0
resnet34.a3_in1k                            224  0.95  bicubic  imagenet  72.970  91.108  apache-2.0
resnet34.bt_in1k                            288  0.95  bicubic  imagenet  76.480  93.354  apache-2.0
resnet34.gluon_in1k                         224  0.875 bicubic  imagenet  74.578  91.984  apache-2.0
resnet34.ra4_e3600_r224_in1k                224  0.9   bicubic  half      77.492       -  apache-2.0
resnet50.a1_in1k                            288  1.0   bicubic  imagenet  81.214  95.102  apache-2.0
resnet50.a1h_in1k                           224  1.0   bicubic  imagenet  80.676  95.306  apache-2.0
resnet50.a2_in1k                            288  1.0   bicubic  imagenet  80.772  94.988  apache-2.0
resnet50.a3_in1k                            224  0.95  bicubic  imagenet  78.048  93.780  apache-2.0
resnet50.am_in1k                            224  0.875 bicubic  imagenet  78.998  94.396  apache-2.0
resnet50.b1k_in1k                           288  1.0   bicubic  imagenet  80.706  95.432  apache-2.0
resnet50.b2k_in1k                           288  1.0   bicubic  imagenet  80.454  95.318  apache-2.0
resnet50.bt_in1k                            288  0.95  bicubic  imagenet  79.640  94.892  apache-2.0
resnet50.c1_in1k                            288  1.0   bicubic  imagenet  80.912  95.552  apache-2.0
resnet50.c2_in1k                            288  1.0   bicubic  imagenet  80.870  95.534  apache-2.0
resnet50.d_in1k                             288  1.0   bicubic  imagenet  80.972  95.430  apache-2.0
resnet50.fb_ssl_yfcc100m_ft_in1k            224  0.875 bilinear imagenet  79.234  94.826  cc-by-nc-4.0
resnet50.fb_swsl_ig1b_ft_in1k               224  0.875 bilinear imagenet  81.182  95.992  cc-by-nc-4.0
resnet50.gluon_in1k                         224  0.875 bicubic  imagenet  77.580  93.718  apache-2.0
resnet50.ra_in1k                            288  0.95  bicubic  imagenet  79.836  94.966  apache-2.0
resnet50.ram_in1k                           288  0.95  bicubic  imagenet  79.976  95.052  apache-2.0
resnet50.tv_in1k                            224  0.875 bilinear imagenet  76.130  92.858  bsd-3-clause
resnet50.tv2_in1k                           224  0.965 bilinear imagenet  80.850  95.434  bsd-3-clause
resnet101.a1_in1k                           288  1.0   bicubic  imagenet  82.322  95.632  apache-2.0
resnet101.a1h_in1k                          288  1.0   bicubic  imagenet  82.778  96.310  apache-2.0
resnet101.a2_in1k                           288  1.0   bicubic  imagenet  82.236  95.730  apache-2.0
resnet101.a3_in1k                           224  0.95  bicubic  imagenet  79.814  94.606  apache-2.0
resnet101.gluon_in1k                        224  0.875 bicubic  imagenet  79.310  94.522  apache-2.0
resnet101.tv_in1k                           224  0.875 bilinear imagenet  77.376  93.542  bsd-3-clause
resnet101.tv2_in1k                          224  0.965 bilinear imagenet  81.890  95.768  bsd-3-clause
resnet152.a1_in1k                           288  1.0   bicubic  imagenet  82.732  95.720  apache-2.0
resnet152.a1h_in1k                          288  1.0   bicubic  imagenet  83.450  96.538  apache-2.0
resnet152.a2_in1k                           288  1.0   bicubic  imagenet  82.608  95.752  apache-2.0
resnet152.a3_in1k                           224  0.95  bicubic  imagenet  80.546  95.000  apache-2.0
resnet152.gluon_in1k                        224  0.875 bicubic  imagenet  79.694  94.736  apache-2.0
resnet152.tv_in1k                           224  0.875 bilinear imagenet  78.322  94.048  bsd-3-clause
resnet152.tv2_in1k                          224  0.965 bilinear imagenet  82.288  96.004  bsd-3-clause
resnet18d.ra2_in1k                          288  0.95  bicubic  imagenet  73.794  91.838  apache-2.0
resnet18d.ra4_e3600_r224_in1k               224  0.9   bicubic  half      74.356       -  apache-2.0
resnet34d.ra2_in1k                          288  0.95  bicubic  imagenet  78.436  94.344  apache-2.0
resnet50d.a1_in1k                           288  1.0   bicubic  imagenet  81.450  95.218  apache-2.0
resnet50d.a2_in1k                           288  1.0   bicubic  imagenet  81.164  95.084  apache-2.0
resnet50d.a3_in1k                           224  0.95  bicubic  imagenet  78.722  94.236  apache-2.0
resnet50d.gluon_in1k                        224  0.875 bicubic  imagenet  79.078  94.468  apache-2.0
resnet50d.ra2_in1k                          288  0.95  bicubic  imagenet  81.356  95.738  apache-2.0
resnet50d.ra4_e3600_r224_in1k               224  0.95  bicubic  half      80.956       -  apache-2.0
resnet101d.gluon_in1k                       224  0.875 bicubic  imagenet  80.426  95.024  apache-2.0
resnet101d.ra2_in1k                         320  1.0   bicubic  imagenet  83.016  96.452  apache-2.0
resnet152d.gluon_in1k                       224  0.875 bicubic  imagenet  80.476  95.202  apache-2.0
resnet152d.ra2_in1k                         320  1.0   bicubic  imagenet  83.684  96.740  apache-2.0
resnet200d.ra2_in1k                         320  1.0   bicubic  imagenet  83.964  96.824  apache-2.0
preresnet50.a1h_in1k                        288  1.0   bicubic  half      81.398  95.726  apache-2.0
preresnet101.a1h_in1k                       288  1.0   bicubic  half      83.002  96.454  apache-2.0
seresnet50.a1_in1k                          288  1.0   bicubic  imagenet  81.102  95.120  apache-2.0
seresnet50.a2_in1k                          288  1.0   bicubic  imagenet  81.106  95.222  apache-2.0
seresnet50.a3_in1k                          224  0.95  bicubic  imagenet  77.028  93.074  apache-2.0
seresnet50.ra2_in1k                         288  0.95  bicubic  imagenet  81.284  95.652  apache-2.0
resnext50_32x4d.a1_in1k                     288  1.0   bicubic  imagenet  81.466  95.174  apache-2.0
resnext50_32x4d.a1h_in1k                    288  1.0   bicubic  imagenet  82.014  95.934  apache-2.0
resnext50_32x4d.a2_in1k                     288  1.0   bicubic  imagenet  81.304  95.096  apache-2.0
resnext50_32x4d.a3_in1k                     224  0.95  bicubic  imagenet  79.268  94.306  apache-2.0
resnext50_32x4d.fb_ssl_yfcc100m_ft_in1k     224  0.875 bilinear imagenet  80.338  95.398  cc-by-nc-4.0
resnext50_32x4d.fb_swsl_ig1b_ft_in1k        224  0.875 bilinear imagenet  82.174  96.222  cc-by-nc-4.0
resnext50_32x4d.gluon_in1k                  224  0.875 bicubic  imagenet  79.360  94.430  apache-2.0
resnext50_32x4d.ra_in1k                     288  0.95  bicubic  imagenet  80.698  95.390  apache-2.0
resnext50_32x4d.tv_in1k                     224  0.875 bilinear imagenet  77.618  93.696  bsd-3-clause
resnext50_32x4d.tv2_in1k                    224  0.965 bilinear imagenet  81.182  95.340  bsd-3-clause
resnext101_32x8d.fb_ssl_yfcc100m_ft_in1k    224  0.875 bilinear imagenet  81.606  96.040  cc-by-nc-4.0
resnext101_32x8d.fb_wsl_ig1b_ft_in1k        224  0.875 bilinear imagenet  82.698  96.632  cc-by-nc-4.0
resnext101_32x8d.tv_in1k                    224  0.875 bilinear imagenet  79.310  94.520  bsd-3-clause
resnext101_32x8d.tv2_in1k                   224  0.965 bilinear imagenet  82.832  96.232  bsd-3-clause
resnext101_64x4d.c1_in1k                    288  1.0   bicubic  imagenet  83.156  96.374  apache-2.0
resnext101_64x4d.gluon_in1k                 224  0.875 bicubic  imagenet  80.600  94.992  apache-2.0
resnext101_64x4d.tv_in1k                    224  0.875 bilinear imagenet  82.992  96.244  bsd-3-clause
wide_resnet50_2.racm_in1k                   288  0.95  bicubic  imagenet  82.280  96.064  apache-2.0
wide_resnet50_2.tv_in1k                     224  0.875 bilinear imagenet  78.480  94.086  bsd-3-clause
wide_resnet50_2.tv2_in1k                    224  0.965 bilinear imagenet  81.606  95.762  bsd-3-clause
wide_resnet101_2.tv_in1k                    224  0.875 bilinear imagenet  78.838  94.282  bsd-3-clause
wide_resnet101_2.tv2_in1k                   224  0.965 bilinear imagenet  82.498  96.018  bsd-3-clause
densenet121.ra_in1k                         288  0.95  bicubic  imagenet  76.500  93.368  apache-2.0
densenet121.tv_in1k                         224  0.875 bicubic  imagenet  74.764  92.154  apache-2.0
densenet161.tv_in1k                         224  0.875 bicubic  imagenet  77.358  93.642  apache-2.0
densenet169.tv_in1k                         224  0.875 bicubic  imagenet  75.900  93.028  apache-2.0
densenet201.tv_in1k                         224  0.875 bicubic  imagenet  77.286  93.480  apache-2.0
vgg11.tv_in1k                               224  0.875 bilinear imagenet  69.022  88.624  bsd-3-clause
vgg11_bn.tv_in1k                            224  0.875 bilinear imagenet  70.382  89.808  bsd-3-clause
vgg13.tv_in1k                               224  0.875 bilinear imagenet  69.932  89.250  bsd-3-clause
vgg13_bn.tv_in1k                            224  0.875 bilinear imagenet  71.588  90.378  bsd-3-clause
vgg16.tv_in1k                               224  0.875 bilinear imagenet  71.592  90.384  bsd-3-clause
vgg16_bn.tv_in1k                            224  0.875 bilinear imagenet  73.370  91.514  bsd-3-clause
vgg19.tv_in1k                               224  0.875 bilinear imagenet  72.378  90.874  bsd-3-clause
vgg19_bn.tv_in1k                            224  0.875 bilinear imagenet  74.216  91.844  bsd-3-clause
"""
